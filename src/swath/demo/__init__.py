"""The demo: forty speeches of the European Parliament, and what is asked about them."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from swath.operators.quote import Quote

if TYPE_CHECKING:
    import polars as pl

    from swath.frame import Frame

SOURCE = "EuroParlMin v1.0 (ufal/europarlmin), from the Europarl corpus: free to use"

TOPICS = {
    "farming and food": "farmers, milk, crops, pesticides, rural development",
    "animal welfare": "how animals are kept, transported, tested on",
    "economy and trade": "the euro, growth, taxes, budgets, trade, cost of membership",
    "work and social affairs": "jobs, labour law, disability, health, drugs, minors",
    "transport and industry": "ships, cars, aviation, ports, safety at sea and in the air",
    "environment": "pollution, the sea, climate, nature",
    "foreign affairs": "wars, relations with countries outside the Union, defence",
    "human rights": "prisoners, torture, the death penalty, discrimination",
    "the Union itself": "constitution, citizenship, elections, languages, the work programme",
}


class Argument(BaseModel):
    """What a speaker argues."""

    claim: str = Field(description="the speaker's main point, in one short sentence of your own")
    stance: Literal["for", "against", "mixed"] = Field(
        description="whether the speaker supports what is debated"
    )
    quote: Quote = Field(description="the sentence that says it best")


def speeches(limit: int | None = None) -> pl.DataFrame:
    """The speeches that ship with Swath: id, date, debate, speaker, speech. See README.md there."""
    import polars as pl

    data = (files("swath.demo") / "speeches.jsonl").read_bytes()
    table = pl.read_ndjson(data)
    return table if limit is None else table.head(limit)


def enriched(table: pl.DataFrame, model: str | None = None) -> Frame:
    """The demo's plan: a topic for each speech, and its argument in columns of their own."""
    import polars as pl

    from swath.frame import frame
    from swath.operators import classify, extract

    argument = pl.col("argument").struct
    return (
        frame(table)
        .with_columns(
            topic=classify("speech", TOPICS, model=model),
            argument=extract("speech", Argument, model=model),
        )
        .select(
            "id",
            "date",
            "debate",
            "speaker",
            "topic",
            claim=argument.field("claim"),
            stance=argument.field("stance"),
            quote=argument.field("quote"),
            speech="speech",
        )
    )
