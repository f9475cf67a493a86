"""What a text argues, how well, and what of it should be checked.

The quote comes first in the schemas of recipes: a small model that has copied a sentence then
speaks of that one; after other words it copies whichever.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from swath.operators.quote import Quote
from swath.recipes.recipe import Row


class Argument(BaseModel):
    quote: Quote = Field(description="the sentence of the text that states the claim")
    claim: str = Field(description="what the author wants us to believe, in one short sentence")
    premises: list[str] = Field(
        max_length=3, description="the reasons given for it, each in one short sentence"
    )
    stance: Literal["for", "against"] = Field(
        description="whether the author is for or against what the claim is about"
    )


class Claim(BaseModel):
    quote: Quote = Field(description="the sentence that makes the claim")
    claim: str = Field(description="the claim, in one short sentence")
    kind: Literal["fact", "judgement", "demand", "forecast"] = Field(
        description="fact: how things are; judgement: good or bad; demand: what should be done; "
        "forecast: what will happen"
    )


class KeyPoint(BaseModel):
    quote: Quote = Field(description="the sentence it is taken from")
    point: str = Field(description="the point, in one short sentence")


class Checkable(BaseModel):
    quote: Quote = Field(description="the sentence that makes the claim")
    claim: str = Field(
        description="the claim, in one short sentence that can be understood without the text"
    )
    about: Literal["number", "event", "cause", "law", "other"] = Field(
        description="what a checker must look up"
    )


class Slant(BaseModel):
    quote: Quote = Field(description="the sentence that shows it")
    kind: Literal["loaded words", "one-sided", "generalisation", "personal attack"] = Field(
        description="loaded words: insults or praise in place of facts; one-sided: leaves out the "
        "other side; generalisation: from a few to all; personal attack: on people, not on views"
    )


# Alternatives, for not every provider holds a model to bounds.
Grade = Literal[1, 2, 3, 4, 5]


class Quality(BaseModel):
    clarity: Grade = Field(description="1: one cannot tell what is argued; 5: it is plain")
    reasons: Grade = Field(description="1: no reasons; 5: reasons that carry the conclusion")
    evidence: Grade = Field(description="1: none; 5: figures, sources or examples for each point")
    fairness: Grade = Field(description="1: ignores other views; 5: answers them")
    weakness: str = Field(description="the weakest spot of the argument, in one short sentence")


arguments = Row(
    name="arguments",
    about="Each argument: claim, premises, for or against, and the sentence that states it.",
    instructions="List the arguments that the author makes, the main one first.",
    item=Argument,
    least=1,
)
claims = Row(
    name="claims",
    about="Each claim, its kind, and the sentence that makes it.",
    instructions="List the claims that the text makes. Leave out greetings.",
    item=Claim,
    least=1,
)
key_points = Row(
    name="key_points",
    about="The few points that matter most, each with its sentence.",
    instructions="List the most important points of the text, each another one.",
    item=KeyPoint,
    least=1,
)
claims_to_check = Row(
    name="claims_to_check",
    about="Claims of fact that a fact-checker should look up.",
    instructions=(
        "List the claims of fact that can be looked up and found true or false. "
        "Leave out opinions, wishes and demands."
    ),
    item=Checkable,
)
bias = Row(
    name="bias",
    about="Where the text is slanted, and how.",
    instructions=(
        "List the sentences that are slanted rather than fair. An empty list where the text is "
        "fair."
    ),
    item=Slant,
)
argument_quality = Row(
    name="argument_quality",
    about="Grades of 1 to 5 for clarity, reasons, evidence and fairness; the weakest spot.",
    instructions="Grade the argument of the text, whether or not you share its view.",
    schema=Quality,
)
