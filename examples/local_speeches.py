"""Arguments out of parliament speeches, with no key and nothing leaving this machine."""

import sys

import polars as pl
from pydantic import BaseModel, Field

import swath as sw
from swath.demo import speeches


class Argument(BaseModel):
    claim: str = Field(description="the speaker's main point, in one short sentence")
    quote: sw.Quote = Field(description="the sentence that says it best")


rows = int(sys.argv[1]) if len(sys.argv) > 1 else 4
table = (
    sw.frame(speeches(rows))
    .with_columns(argument=sw.extract("speech", Argument, model="local"))
    .unnest("argument")
    .select("speaker", "claim", "quote", "speech")
    .collect()
)
for speaker, claim, quote, speech in table.iter_rows():
    print(f"{speaker}: {claim}\n  “{quote}”\n")
    assert quote in speech  # a sw.Quote always is
print(table.select("speaker", pl.col("claim").str.len_chars().alias("claim_length")))
