"""What a group of texts says together. For `group_by(…).agg(…)`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from swath.operators.quote import Quote
from swath.recipes.recipe import Group, Parameter


class Consensus(BaseModel):
    agreed: list[str] = Field(
        max_length=3, description="what the authors agree on, each in one short sentence"
    )
    disputed: list[str] = Field(
        max_length=3, description="what they disagree on, each in one short sentence"
    )


class View(BaseModel):
    quote: Quote = Field(description="the sentence of the item that shows it")
    who: str = Field(description="the author or source of the item, as it is named there")
    position: str = Field(description="what they want or think, in one short sentence")


class Gap(BaseModel):
    missing: str = Field(description="what is left out, in one short sentence")
    matters: str = Field(description="why it would matter, in one short sentence")


class Phase(BaseModel):
    quote: Quote = Field(description="the sentence of the item that shows it")
    when: str = Field(description="the time, as the item says it")
    position: str = Field(description="what was said or held at that time, in one short sentence")


consensus = Group(
    name="consensus",
    about="What the texts of a group agree on, and what they dispute.",
    instructions="Say what the authors of the items agree on, and what they disagree on.",
    schema=Consensus,
)
comparative_view = Group(
    name="comparative_view",
    about="The position of each author or source, side by side.",
    instructions="Compare the items: give the position of each on {question}.",
    schema=Annotated[list[View], Field(min_length=1, max_length=6)],
    parameters={
        "question": Parameter(
            "what is compared", sample="the new bridge", default="their common subject"
        )
    },
)
gaps = Group(
    name="gaps",
    about="What the texts of a group leave open.",
    instructions=("Say what the items leave out that a reader who must decide would need to know."),
    schema=Annotated[list[Gap], Field(min_length=1, max_length=3)],
)
phases = Group(
    name="phases",
    about="How a view changed from one text of a group to the next.",
    instructions=(
        "The items are in order of time. Say how the view of the matter changed: one entry for "
        "each time at which it was a new one."
    ),
    schema=Annotated[list[Phase], Field(min_length=1, max_length=6)],
)
defines = Group(
    name="defines",
    about="One definition made of several.",
    instructions=(
        "The items explain the same term. Make one definition of them, in one short sentence."
    ),
)
