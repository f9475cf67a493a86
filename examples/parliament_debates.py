"""Parliament debates: who argues what, who agrees with whom.

python examples/parliament_debates.py [TURNS] (EuroParlMin, from Europarl; the local model)
"""

import sys

import polars as pl
from pydantic import BaseModel, Field
from shared_data import path

import swath as sw


class Argument(BaseModel):
    claim: str = Field(description="the speaker's main point, in one short sentence")
    quote: sw.Quote = Field(description="the sentence that says it best")


turns = int(sys.argv[1]) if len(sys.argv) > 1 else 6
speeches = sw.read_jsonl(path("europarl_debates.jsonl")).filter(
    pl.col("speaker") != "President", pl.col("text").str.len_chars().is_between(600, 2500)
)
debate = speeches.filter(pl.col("title").str.starts_with("The protection and welfare of")).limit(
    turns
)

arguments = (
    debate.with_columns(argument=sw.extract("text", Argument))
    .unnest("argument")
    .select("speaker", "claim", "quote")
    .cache()
)
table = arguments.collect()
for speaker, claim, quote in table.iter_rows():
    print(f"{speaker}: {claim}\n  “{quote}”")

# Each pair of speakers once; only pairs whose claims are about the same thing are asked about.
other = arguments.rename({"speaker": "other", "claim": "their_claim", "quote": "their_quote"})
pairs = (
    arguments.sim_join(other, "claim", "their_claim", k=3)
    .filter(pl.col("speaker") < pl.col("other"))
    .with_columns(
        stance=sw.classify(
            pl.concat_str(pl.lit("A: "), "claim", pl.lit("\nB: "), "their_claim"),
            {"agree": "B wants the same as A", "disagree": "B wants the opposite of A"},
        )
    )
)
print(pairs.select("speaker", "other", "stance", "similarity").collect())

common = arguments.agg(common=sw.reduce("In one sentence: what do they all ask for?", "claim"))
print(common.collect().item())
