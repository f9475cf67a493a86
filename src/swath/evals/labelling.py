"""People's labels: which pairs they are shown, in which order, and where the labels are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from swath.errors import InputError, OutputError, listing
from swath.evals.comparison import HUMAN

FILE = "human.parquet"
LABELS = ("A", "B", "tie")


@dataclass(frozen=True)
class Shown:
    """A pair as an annotator sees it: no model's name, and in an order of its own."""

    item_id: str
    task: str
    reference: str | None
    first: str
    second: str
    turned: bool  # the first shown is answer_b

    def label(self, picked: str) -> str:
        """A, B or tie for `1`, `2` or `t`."""
        if picked == "t":
            return "tie"
        return "A" if (picked == "1") != self.turned else "B"


def draw(items: pl.DataFrame, n: int, seed: int = 0) -> pl.DataFrame:
    """A random sample of `n` items, the same for the same seed; a larger `n` holds the smaller."""
    if n < 1:
        raise InputError(f"{n} pairs are none.", hint="Give a number such as 50.")
    place = [_number("draw", str(seed), item) for item in items["item_id"]]
    return items.with_columns(pl.Series("_place", place)).sort("_place").head(n).drop("_place")


def pairs(items: pl.DataFrame, annotator: str, seed: int = 0) -> Iterator[Shown]:
    """`items` in their order, blind. Which answer stands first is drawn for each annotator."""
    for item in items.iter_rows(named=True):
        turned = _number("order", str(seed), annotator, item["item_id"]) % 2 == 1
        one, two = item["answer_a"], item["answer_b"]
        task = "\n\n".join(part for part in (item["instruction"], item.get("input")) if part)
        yield Shown(
            item["item_id"],
            task,
            item.get("reference"),
            two if turned else one,
            one if turned else two,
            turned,
        )


def _number(*parts: str) -> int:
    return int.from_bytes(blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big") >> 1


class Labels:
    """The labels in a folder's `human.parquet`, written after each one: a break loses none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.table = read(self.path) if self.path.is_file() else pl.DataFrame(schema=HUMAN)

    def by(self, annotator: str) -> set[str]:
        """The items that `annotator` has labelled."""
        return set(self.table.filter(pl.col("annotator") == annotator)["item_id"])

    def add(self, item_id: str, annotator: str, label: str) -> None:
        row = pl.DataFrame([(item_id, annotator, label)], schema=HUMAN, orient="row")
        self.table = pl.concat([self.table, row])
        temporary = self.path.with_suffix(".new")
        try:
            self.table.write_parquet(temporary)
            os.replace(temporary, self.path)
        except OSError as error:
            raise OutputError(
                f"The labels cannot be written to '{self.path}': {error.strerror}.",
                hint="Is the folder writable?",
            ) from None


def read(labels: Any) -> pl.DataFrame:
    """HUMAN from a table, or a parquet, csv or jsonl file. Raises InputError."""
    if isinstance(labels, str | os.PathLike):
        path = Path(labels)
        readers: dict[str, Callable[[Path], pl.DataFrame]] = {
            ".parquet": pl.read_parquet,
            ".csv": pl.read_csv,
            ".jsonl": pl.read_ndjson,
        }
        reader = readers.get(path.suffix.lower())
        if reader is None:
            raise InputError(
                f"The labels '{path}' have no known ending.", hint=listing(readers, path.suffix)
            )
        try:
            table, name = reader(path), f"'{path}'"
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"The labels '{path}' cannot be read: {str(error).splitlines()[0]}",
                hint="They need the columns item_id and label.",
            ) from None
    else:
        from swath.frames.readers import frame

        table, name = frame(labels).collect(), "The labels"
    for column in ("item_id", "label"):
        if column not in table.columns:
            raise InputError(
                f"{name} has no column '{column}'.", hint=listing(table.columns, column)
            )
    if "annotator" not in table.columns:
        table = table.with_columns(annotator=pl.lit(""))
    table = table.select([pl.col(column).cast(pl.String) for column in HUMAN])
    wrong = table.filter(~pl.col("label").is_in(LABELS) & pl.col("label").is_not_null())
    if wrong.height:
        raise InputError(
            f"{wrong.height} labels are none of A, B and tie.",
            hint="A is answer_a of the comparison's items, B answer_b.",
        )
    return table.drop_nulls("label")
