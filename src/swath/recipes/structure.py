"""How a text is built, and what it is about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from swath.operators.quote import Quote
from swath.recipes.recipe import Row


class Section(BaseModel):
    starts: Quote = Field(description="the sentence with which the section begins")
    title: str = Field(description="a title of two to six words")


class Question(BaseModel):
    quote: Quote = Field(description="the sentence that answers it")
    question: str = Field(description="a question that can be understood without the text")
    answer: str = Field(description="the answer, in one short sentence")


class Reply(BaseModel):
    to: str | None = Field(
        default=None, description="the person or text that is answered, as the text names it"
    )
    kind: Literal["agrees", "objects", "asks", "thanks", "mentions", "none"] = Field(
        description="what the author does towards them; none where nobody is answered"
    )
    quote: Quote | None = Field(default=None, description="the sentence that does it")


class Device(BaseModel):
    quote: Quote = Field(description="the sentence that uses it")
    device: Literal[
        "rhetorical question", "metaphor", "repetition", "irony", "exaggeration", "contrast"
    ] = Field(
        description="rhetorical question: wants no answer; metaphor: an image; repetition: the "
        "same words again; irony: the opposite is meant; exaggeration: more than is true; "
        "contrast: two things set against each other"
    )


topics = Row(
    name="topics",
    about="What the text is about, in a few words each; or which of given labels.",
    instructions="List the topics of the text, the main one first.",
    labelled="Name every topic that the text is about.",
    item=Annotated[str, Field(description="a topic in one to three words, no sentence")],
    least=1,
)
sections = Row(
    name="sections",
    about="The parts of a text: a title, and the sentence with which each begins.",
    instructions=(
        "Divide the text into its parts, in order. A new part begins where the text turns to "
        "something else."
    ),
    item=Section,
    least=1,
    most=5,
)
questions = Row(
    name="questions",
    about="Questions that the text answers, each with its answer and sentence.",
    instructions="List the questions that this text answers.",
    item=Question,
    least=1,
)
reply = Row(
    name="reply",
    about="Whom the text answers or refers to, and how.",
    instructions="Say whom the author of the text answers or addresses.",
    schema=Reply,
    shown=True,
)
rhetorical_devices = Row(
    name="rhetorical_devices",
    about="Rhetorical devices, each with its sentence.",
    instructions="List the rhetorical devices of the text.",
    item=Device,
)
