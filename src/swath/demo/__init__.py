"""The demo: forty speeches of the European Parliament, and what is asked about them."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from swath.operators.quote import Quote

if TYPE_CHECKING:
    import polars as pl

    from swath.frames import Frame

SOURCE = "EuroParlMin v1.0 (ufal/europarlmin), from the Europarl corpus: free to use"

TOPICS = {
    "agriculture": "farmers, milk, crops, pesticides",
    "animal welfare": "how animals are treated",
    "economy": "the euro, taxes, prices, costs",
    "social policy": "work, health, drugs, disability",
    "transport": "ships, cars, airports",
    "environment": "pollution, nature",
    "foreign affairs": "other countries, war",
    "human rights": "prisons, torture, executions",
    "institutions": "the constitution, the Commission, Parliament",
}


STANCES = {
    "supportive": "welcomes, praises, defends",
    "critical": "criticises, rejects, warns",
    "demanding": "asks, demands, proposes",
}


# The words were chosen on the local model, which is small: noun phrases are not parroted, and "one
# short sentence" bounds what it may write. It classifies better than it fills in a fixed choice.
class Argument(BaseModel):
    """What a speaker argues."""

    claim: str = Field(
        description="the speaker's main point, in one short sentence in your own words"
    )
    quote: Quote = Field(description="the sentence of the speech that best supports the claim")


def speeches(limit: int | None = None) -> pl.DataFrame:
    """The speeches that ship with Swath: id, date, debate, speaker, speech. See README.md there."""
    import polars as pl

    data = (files("swath.demo") / "speeches.jsonl").read_bytes()
    table = pl.read_ndjson(data).with_columns(pl.col("date").str.to_date())
    return table if limit is None else table.head(limit)


def enriched(table: pl.DataFrame, model: str | None = None) -> Frame:
    """The demo's plan: each speech's argument and stance, then the topic of its claim."""
    from swath.frames import frame
    from swath.operators import classify, extract

    return (
        frame(table)
        .with_columns(
            argument=extract(
                "speech",
                Argument,
                model=model,
                instructions="You read a speech given in the European Parliament.",
                temperature=0.0,
            ),
            stance=classify(
                "speech",
                STANCES,
                model=model,
                instructions="Name the attitude of the speaker.",
            ),
        )
        .unnest("argument")
        .with_columns(topic=classify("claim", TOPICS, model=model))
        .select("id", "date", "debate", "speaker", "topic", "claim", "stance", "quote", "speech")
    )
