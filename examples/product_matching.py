"""Product matching: which products of two shops are the same? With precision, recall and F1.

python examples/product_matching.py [ROWS]    (Abt-Buy, Leipzig; the local model)
"""

import sys

import polars as pl
from shared_data import path

import swath as sw

rows = int(sys.argv[1]) if len(sys.argv) > 1 else 12
abt = sw.read_csv(path("products_abt.csv"), encoding="utf8-lossy").sample(rows, seed=5)
buy = sw.read_csv(path("products_buy.csv"), encoding="utf8-lossy")
truth = pl.read_csv(path("products_abt_buy_perfect_mapping.csv"))

# 1. By likeness of names alone: no question to a language model at all.
nearest = abt.sim_join(buy.select("id", "name"), "name", k=1)
# 2. The model decides about the most alike ones; the other pairs are never asked about.
asked = abt.select("id", "name").join(
    buy.select("id", "name").rename({"id": "buy_id", "name": "offer"}),
    on=sw.join("These are the same product:\n{name}\n{offer}", candidates=2, pairs_per_call=1),
)


def score(what: str, pairs: pl.DataFrame) -> None:
    """Precision, recall and F1 of (id, other id) pairs against the mapping of the data set."""
    found = set(pairs.iter_rows())
    wanted = {pair for pair in truth.iter_rows() if pair[0] in abt_ids}
    right = len(found & wanted)
    precision, recall = right / max(len(found), 1), right / max(len(wanted), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    print(f"{what}: precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}")


abt_ids = set(abt.select("id").collect()["id"])
score("nearest name", nearest.select("id", "id_right").collect())
run = asked.run()
print(run)
score("decided by the model", run.table.select("id", "buy_id"))
