"""What a text tells of the world: names, relations, events, words of others, terms, sources."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from swath.operators.quote import Quote
from swath.recipes.recipe import Row


class Entity(BaseModel):
    name: str = Field(description="the name as the text has it")
    kind: Literal["person", "organisation", "place", "law", "product", "event"]


class Relation(BaseModel):
    quote: Quote = Field(description="the sentence that says so")
    subject: str = Field(description="who or what: a name of the text")
    relation: str = Field(description="a verb in two or three words, such as 'works for'")
    object: str = Field(description="whom or what: another name of the text")


class Said(BaseModel):
    quote: Quote = Field(description="the sentence with what was said")
    speaker: str = Field(description="who said it: a name or role of the text, not the author")
    form: Literal["direct", "reported"] = Field(
        description="direct: in quotation marks; reported: in the author's words"
    )


class Event(BaseModel):
    quote: Quote = Field(description="the sentence that tells of it")
    event: str = Field(description="what happened, in at most ten words")
    when: str = Field(description="the time as the text says it, such as 'in May 2004'")
    day: date | None = Field(
        default=None, description="the date, only where the text gives day, month and year"
    )

    @model_validator(mode="after")
    def _day_is_of_the_text(self) -> Event:
        """A small model makes a date up: one whose year is not in the quote is none."""
        if self.day is not None and str(self.day.year) not in self.quote:
            self.day = None
        return self


class Term(BaseModel):
    quote: Quote = Field(description="the sentence in which it stands")
    term: str = Field(description="the word or abbreviation, as the text has it")
    meaning: str = Field(description="what it means in this text, in one short sentence")


class Citation(BaseModel):
    quote: Quote = Field(description="the sentence that refers to it")
    cited: str = Field(description="its name, as the text has it")
    kind: Literal["person", "document", "law", "institution"]


entities = Row(
    name="entities",
    about="Names of people, organisations, places, laws, products and events.",
    instructions="List the proper names in the text, each once. Leave out titles such as Mr.",
    item=Entity,
    most=12,
)
relations = Row(
    name="relations",
    about="Who stands in what relation to whom: subject, relation, object, sentence.",
    instructions="List what the text says of how people, bodies, places and things are related.",
    item=Relation,
)
quotes_with_speakers = Row(
    name="quotes_with_speakers",
    about="Words of others in the text, and who said them.",
    instructions=(
        "List what people or bodies other than the author say in the text. An empty list where "
        "only the author speaks."
    ),
    item=Said,
)
timeline = Row(
    name="timeline",
    about="Events with their times, and dates where the text gives them.",
    instructions="List the events of which the text says when they happened.",
    item=Event,
    most=5,
)
terms = Row(
    name="terms",
    about="Technical terms and abbreviations, with what they mean.",
    instructions="List the technical terms and abbreviations that a newcomer would not know.",
    item=Term,
)
citations = Row(
    name="citations",
    about="People, documents, laws and institutions that a text refers to.",
    instructions=(
        "List what the text refers to: people it names, reports, laws and institutions, each once."
    ),
    item=Citation,
    most=6,
)
