"""Content moderation: what a text is, and a small model that leaves what it is unsure of to a
larger one.

python examples/content_moderation.py [ROWS]  (film-review sentences, CC BY 4.0; two local models)
"""

import sys

import polars as pl
from shared_data import path

import swath as sw

KINDS = {
    "fine": "praise or criticism in decent words",
    "insult": "calls a person stupid, ugly or worthless",
    "sexual": "speaks of sex",
    "violent": "speaks of killing or hurting",
}

rows = int(sys.argv[1]) if len(sys.argv) > 1 else 24
reviews = sw.read_csv(path("reviews_polarity.csv")).sample(rows, seed=3)

careful = sw.cascade("local/smollm2-135m", "local", quality=0.9)
marked = reviews.with_columns(
    kind=sw.classify("text", KINDS, scores=True),
    harsh=sw.predicate("The writer wants to hurt somebody: {text}", model=careful),
    mood=sw.sentiment("text", about="the film", neutral=False),
)
run = marked.run()
print(run)
print(careful.promises[-1])

table = run.table
for row in table.head(6).iter_rows(named=True):
    kind = row["kind"]
    print(f"{kind['label']} ({kind['score']:.2f}), {row['mood']}: {row['text'][:70]}")
right = (table["mood"] == table["label"]).mean()
print(f"\nMood agrees with the label of the data set in {right:.0%} of {table.height} rows.")
print(table.group_by("mood").agg(pl.len(), pl.col("harsh").mean()).sort("mood"))
