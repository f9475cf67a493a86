"""`Graded`: how well each of several models answered each of many prompts, as arrays.

Where there are several sources their grades need not be on one scale: a judge's win rate of 0.2
against a strong answer is no failure of four in five. What is learned from them is therefore always
compared within a source. Models and rows are sorted, so that their order in the file, and that of
the models, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swath.errors import ColumnNotFound, InputError, listing

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
COLUMNS = ("prompt", "model", "quality")


@dataclass(frozen=True)
class Graded:
    """n rows, one a (source, prompt); m models. `quality` (n, m) lies in [0, 1], NaN where a model
    was not graded; `source` (n,) indexes `sources`. `notes` say what was done to the table. `extra`
    holds what else is known of each answer, by name (n, m), NaN where it is not: what
    `evidence.measured` finds in the table."""

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    quality: Floats
    source: NDArray[np.intp]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    extra: Mapping[str, Floats] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.prompts)

    @classmethod
    def read(cls, table: pl.DataFrame) -> Graded:
        """From rows of `prompt`, `model`, `quality` and, where there are several, `source`.

        A null quality is a row not graded, and left out; several rows of one prompt and model are
        repeated trials, and averaged. Raises ColumnNotFound, and InputError where a quality is NaN
        or outside [0, 1], or fewer than two models or prompts are left.
        """
        import polars as pl

        from swath.evidence import measured

        require(table, COLUMNS, "The graded table")
        table = table.with_columns(
            pl.col("source").cast(pl.String).fill_null("")
            if "source" in table.columns
            else pl.lit("").alias("source")
        )
        if not table.schema["quality"].is_numeric() and table.schema["quality"] != pl.Boolean:
            raise InputError(
                f"The column 'quality' holds {table.schema['quality']}, not numbers.",
                hint="It is how good the answer is, from 0 to 1.",
            )
        table = table.with_columns(pl.col("quality").cast(pl.Float64))
        kept = table.drop_nulls([*COLUMNS])
        notes = []
        if left := table.height - kept.height:
            notes.append(f"{left:,} rows without prompt, model or quality were left out")
        wrong = kept.filter(~pl.col("quality").is_finite() | ~pl.col("quality").is_between(0, 1))
        if wrong.height:
            raise InputError(
                f"{wrong.height:,} of {kept.height:,} qualities are not numbers from 0 to 1.",
                hint="Leave out rows that were not graded, and divide scores by their maximum.",
            )
        kept = kept.with_columns(pl.col("prompt").cast(pl.String), pl.col("model").cast(pl.String))
        seen = measured(kept)
        kept = kept.select("source", *COLUMNS).hstack(seen)
        mean = kept.group_by("source", "prompt", "model").agg(
            pl.col("quality", *seen.columns).sort().mean()
        )
        if again := kept.height - mean.height:
            notes.append(f"{again:,} repeated rows of a prompt and model were averaged")
        wide = mean.pivot(on="model", index=["source", "prompt"], values="quality")
        wide = wide.sort("source", "prompt")
        models = tuple(sorted(name for name in wide.columns if name not in ("source", "prompt")))
        if len(models) < 2:
            raise InputError(
                f"A router chooses between models; the table has {len(models)}.",
                hint="Grade the answers of two models or more to the same prompts.",
            )
        if wide.height < 2:
            raise InputError("The table grades fewer than two prompts.", hint="Give more rows.")
        names = wide["source"].unique().sort().to_list()
        code = {name: i for i, name in enumerate(names)}
        extra = {}
        for name in seen.columns:
            of = mean.pivot(on="model", index=["source", "prompt"], values=name)
            of = of.sort("source", "prompt").select(models)
            extra[name] = of.to_numpy().astype(np.float64)
        return cls(
            prompts=tuple(wide["prompt"].to_list()),
            models=models,
            quality=wide.select(models).to_numpy().astype(np.float64),
            source=np.array([code[s] for s in wide["source"]], np.intp),
            sources=tuple(names),
            notes=tuple(notes),
            extra=extra,
        )

    def rows(self, keep: NDArray[np.bool_]) -> Graded:
        """Only the rows where `keep` (n,) is true."""
        prompts = tuple(p for p, kept in zip(self.prompts, keep, strict=True) if kept)
        extra = {name: values[keep] for name, values in self.extra.items()}
        return Graded(
            prompts, self.models, self.quality[keep], self.source[keep], self.sources, extra=extra
        )

    def pair(self, weak: str, strong: str) -> Graded:
        """Only two models, and the rows that grade both. Raises InputError."""
        for name in (weak, strong):
            if name not in self.models:
                raise InputError(
                    f"No answers of '{name}' are graded.", hint=listing(self.models, name)
                )
        columns = [self.models.index(weak), self.models.index(strong)]
        quality = self.quality[:, columns]
        both = ~np.isnan(quality.sum(axis=1))
        if both.sum() < 2:
            raise InputError(
                f"{int(both.sum())} prompts are graded for both '{weak}' and '{strong}'.",
                hint="Two models are compared on the same prompts: grade both on some.",
            )
        extra = {name: values[:, columns] for name, values in self.extra.items()}
        made = Graded(self.prompts, (weak, strong), quality, self.source, self.sources, extra=extra)
        return made.rows(both)

    def tiers(self) -> Graded:
        """Two models in place of many: `weak`, the mean of each source's middle third, and
        `strong`, of its best fifth. Sources then have comparable models, whoever they graded."""
        made = np.full((len(self), 2), np.nan)
        for rows in self.by_source():
            here = self.quality[rows]
            graded = np.isfinite(here).mean(axis=0)
            known = np.flatnonzero(graded > max(0.9 * graded.max(), 0.0))
            order = known[np.argsort(np.nanmean(here[:, known], axis=0), kind="stable")]
            count = len(order)
            middle = order[int(count * 0.35) : max(int(count * 0.65), int(count * 0.35) + 1)]
            best = order[min(int(count * 0.8), count - 1) :]
            for column, chosen in enumerate((middle, best)):
                made[rows, column] = _mean(here[:, chosen])
        keep = ~np.isnan(made.sum(axis=1))
        pair = Graded(self.prompts, ("weak", "strong"), made, self.source, self.sources)
        return pair.rows(keep)

    def by_source(self) -> list[NDArray[np.intp]]:
        """The rows of each source that has any."""
        found = [np.flatnonzero(self.source == s) for s in range(len(self.sources))]
        return [rows for rows in found if len(rows)]


def require(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ColumnNotFound where a column is missing."""
    for name in columns:
        if name not in table.columns:
            raise ColumnNotFound(
                f"{what} has no column '{name}'.", hint=listing(table.columns, name)
            )


def _mean(quality: Floats) -> Floats:
    """The mean of the graded of each row, NaN where none is."""
    count = np.isfinite(quality).sum(axis=1)
    total = np.nansum(quality, axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
