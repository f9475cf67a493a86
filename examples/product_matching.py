"""Product matching: which products of two shops are the same? With precision, recall and F1.

python examples/product_matching.py [ROWS]    (Abt-Buy, Leipzig; the local model)
"""

import sys

import polars as pl
from shared_data import path

import swath as sw

rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10
truth = pl.read_csv(path("products_abt_buy_perfect_mapping.csv"))
abt = (
    sw.read_csv(path("products_abt.csv"), encoding="utf8-lossy")
    .select("id", "name")
    .sample(rows, seed=5)
)
abt_ids = set(abt.collect()["id"])
# Their matches among two hundred offers of the other shop.
buy = sw.read_csv(path("products_buy.csv"), encoding="utf8-lossy").select(
    pl.col("id").alias("buy_id"), pl.col("name").alias("offer")
)
wanted = {pair for pair in truth.iter_rows() if pair[0] in abt_ids}
offers = buy.filter(
    pl.col("buy_id").is_in([b for _, b in wanted]) | (pl.col("buy_id").hash(1) % 6 == 0)
)


def score(what: str, pairs: pl.DataFrame) -> None:
    """Precision, recall and F1 of (id, buy_id) against the mapping of the data set."""
    found = set(pairs.select("id", "buy_id").iter_rows())
    right = len(found & wanted)
    precision, recall = right / max(len(found), 1), right / max(len(wanted), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    print(f"{what}: precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}")


# 1. By likeness of names alone: no question to a language model at all.
nearest = abt.sim_join(offers, "name", "offer", k=1)
score("the nearest name", nearest.collect())

# 2. The model decides about the two most alike of each; other pairs are never asked about.
same = sw.join("{name}\n{offer}\nThese are one and the same product.", candidates=2)
run = abt.join(offers, on=same).run()
print(run)
score("decided by the model", run.table)
