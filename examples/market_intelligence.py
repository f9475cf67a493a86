"""Market intelligence: read a catalogue, group what is alike, and say what each group is.

python examples/market_intelligence.py [ROWS] (Abt's products from Abt-Buy; the local model)
"""

import sys

import polars as pl
from pydantic import BaseModel, Field
from shared_data import path

import swath as sw


class Product(BaseModel):
    brand: str
    kind: str = Field(description="the kind of product in one or two words")
    for_home: bool = Field(description="whether it stays at home, rather than being carried")


rows = int(sys.argv[1]) if len(sys.argv) > 1 else 16
catalogue = sw.read_csv(path("products_abt.csv"), encoding="utf8-lossy").sample(rows, seed=1)

products = catalogue.with_columns(
    product=sw.extract("name", Product),
    group=sw.cluster("name", k=4),
).unnest("product")
groups = products.group_by("group").agg(
    pl.len().alias("products"),
    pl.col("brand").unique().sort().alias("brands"),
    offer=sw.reduce("In one sentence, what does this part of the shop sell?", "name"),
)
run = groups.sort("products", descending=True).run()
print(run)
for row in run.table.iter_rows(named=True):
    brands = ", ".join(brand for brand in row["brands"] if brand)
    print(f"\n{row['products']} products of {brands}\n  {row['offer']}")

# Search the catalogue by meaning; what was embedded above is not embedded again.
found = catalogue.search("name", "music at home", k=3).select("name", "score").collect()
print(found)
