"""`swath router eval --graded`: routers on the user's own grades, any number of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swath.cli import console


def measure(
    graded: str,
    test: str | None,
    cost: str,
    costs: str | None,
    asked: list[str],
    out: str | None,
    plot: str | None,
    resamples: int,
    seed: int,
    note: Callable[[str], None],
) -> None:
    """Train on a half of the prompts (all, where `test` names others), measure on the rest, print
    the table, and write and draw it where asked."""
    import polars as pl

    from swath.cli import tables
    from swath.cli.router_eval import write
    from swath.routing import many, study

    table = tables.read(graded).collect()
    prices = _prices(costs) if costs is not None else None
    data = many.read(table, cost=cost, costs=prices)
    if test is not None:
        known = data
        held = many.read(tables.read(test).collect(), cost=cost, costs=prices)
    else:
        clusters: dict[str, str] = {}
        if "cluster" in table.columns:
            pairs = table.select("prompt", pl.col("cluster").cast(pl.String)).drop_nulls()
            clusters = dict(pairs.cast(pl.String).sort("prompt", "cluster").iter_rows())
        known, held = many.halves(data, clusters, seed)
    for text in data.graded.notes:
        console.note(f"Note: {text}.")
    if left := len(held.graded) - len(held.whole().graded):
        console.note(f"Note: {left:,} held-out prompts lack a model's grade, and are left out.")
    routers = study.trained(known.graded, asked, seed=seed, note=note)
    found = many.measure(routers, known, held, resamples=resamples, seed=seed, note=note)
    console.out().print(_table(found, len(known.graded), held.graded.models))
    if out is not None:
        whole = held.whole()
        alone = zip(
            whole.graded.models,
            whole.cost.mean(axis=0).tolist(),
            whole.graded.quality.mean(axis=0).tolist(),
            strict=True,
        )
        write(
            out,
            {
                "seed": seed,
                "resamples": resamples,
                "trained_on": len(known.graded),
                "models": [{"model": m, "cost": c, "quality": q} for m, c, q in alone],
                "results": [one.as_dict() for one in found],
            },
        )
    if plot is not None:
        from swath.routing.plot import draw_hulls

        console.note(f"Drawn to {draw_hulls(found, held.whole(), plot)}.")


def _prices(path: str) -> dict[str, float]:
    import polars as pl

    from swath.cli import tables
    from swath.errors import InputError
    from swath.routing.graded import require

    table = tables.read(path).collect()
    require(table, ("model", "cost"), "The table of costs")
    if not table.schema["cost"].is_numeric():
        raise InputError("The column 'cost' holds no numbers.", hint="Give dollars a prompt.")
    return dict(table.select(pl.col("model").cast(pl.String), pl.col("cost")).iter_rows())


def _table(found: list[Any], trained: int, models: tuple[str, ...]) -> Any:
    pairs = any(one.pair for one in found)
    figures = ("AIQ", "95%", *(("APGR", "CPT(50)", "CPT(80)") if pairs else ()))
    made = console.table("router", *figures, right=figures)
    n = console.count(found[0].n, "held-out prompt") if found else ""
    made.title = f"{n}, {console.count(len(models), 'model')}; trained on {trained:,}"
    made.title_justify = "left"
    for one in found:
        row = [
            one.router,
            f"{one.aiq.estimate:.4f}",
            f"{one.aiq.low:.4f} to {one.aiq.high:.4f}",
        ]
        if pairs and one.pair:
            pair = one.pair
            row.append(f"{pair.apgr.estimate:.3f} ({pair.apgr.low:.3f} to {pair.apgr.high:.3f})")
            row += [f"{pair.cpt50.estimate:.1f}", f"{pair.cpt80.estimate:.1f}"]
        made.add_row(*row)
    return made
