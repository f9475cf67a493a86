"""`swath router calibrate`: a threshold chosen on the user's own prompts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from swath.cli import console
from swath.cli.options import Json

if TYPE_CHECKING:
    import polars as pl

    from swath.routing.graded import Graded
    from swath.routing.router import Learned

Name = Annotated[
    str, typer.Argument(metavar="ROUTER", help="A file that `train` wrote, or 'default'.")
]
Prompts = Annotated[
    str,
    typer.Option(
        "--prompts", metavar="FILE", help="A table with prompt and, where there is one, prompt_id."
    ),
]


def calibrate(
    router: Name,
    prompts: Prompts,
    share: Annotated[
        float | None, typer.Option(metavar="P", help="This share of calls to the strong model.")
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            metavar="Q",
            help="Keep this much of the strong model's quality. FILE then has model and quality.",
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(metavar="P", help="With --quality: how sure to be.")
    ] = 0.9,
    budget: Annotated[
        float | None, typer.Option(metavar="D", help="Dollars for prompts like these in all.")
    ] = None,
    weak: Annotated[str | None, typer.Option(metavar="MODEL", help="The cheap model.")] = None,
    strong: Annotated[str | None, typer.Option(metavar="MODEL", help="The dear model.")] = None,
    weak_cost: Annotated[
        float | None, typer.Option(metavar="D", help="With --budget: dollars a prompt.")
    ] = None,
    strong_cost: Annotated[
        float | None, typer.Option(metavar="D", help="With --budget: dollars a prompt.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where the router goes; else in place."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose the threshold on your own prompts, and keep it in the router."""
    from swath.errors import InputError
    from swath.routing import calibrate as choose
    from swath.routing.artifact import save
    from swath.routing.training import DEFAULT, load

    if [share, quality, budget].count(None) != 2:
        raise InputError(
            "Calibration needs one goal.", hint="Give one of --share, --quality and --budget."
        )
    made = load(router)
    cheap, dear = pair_of(made, weak, strong)
    if quality is not None:
        graded = _graded_pair(prompts, weak, strong)
        cheap, dear = graded.models
        scores = made.score(graded.prompts)
        result = choose.for_quality(
            scores,
            graded.quality[:, 0],
            graded.quality[:, 1],
            quality,
            confidence=confidence,
            names=(cheap, dear),
        )
    else:
        scores = made.score(prompts_of(prompts)["prompt"].to_list())
        if share is not None:
            result = choose.for_share(scores, share, weak=cheap, strong=dear)
        else:
            if budget is None or weak_cost is None or strong_cost is None:
                raise InputError(
                    "A budget needs what a prompt costs.", hint="Give --weak-cost, --strong-cost."
                )
            result = choose.for_budget(
                scores, budget, (weak_cost, strong_cost), weak=cheap, strong=dear
            )
    moved = choose.drift(made.quantiles, scores)
    made.calibration = result
    place = out if out is not None else (None if router == DEFAULT else router)
    if place is not None:
        save(made, place)
    if as_json:
        shown = asdict(result) | {"drift": asdict(moved), "saved": place}
        del shown["quantiles"]
        shown["threshold"] = _number(result.threshold)
        console.say_json(shown)
        return
    console.say(
        f"threshold {result.threshold:.6g}: {result.share:.1%} of these prompts go to '{dear}'."
    )
    if quality is not None:
        console.say(
            f"With {confidence:.0%} confidence at least {quality:.1%} of '{dear}' is kept; on "
            f"these {len(scores):,} prompts it is {result.reached['quality_kept']:.1%}."
        )
        if result.share == 1.0:
            console.note(
                "Note: these grades do not show that any prompt can go to the weak model. More of "
                "them, a lower quality or another router may."
            )
    if "cost" in result.reached:
        console.say(f"They cost {console.dollars(result.reached['cost'])}.")
    console.say(f"Against the training prompts, {moved}.")
    console.note(
        f"Saved to {place}." if place else "Not saved: give --out to keep a copy of the default."
    )


def table_of(source: str) -> pl.DataFrame:
    from swath.cli import tables

    return tables.read(source).collect()


def prompts_of(source: str) -> pl.DataFrame:
    """Prompts and their ids; the row's number where there is no id."""
    import polars as pl

    from swath.errors import InputError
    from swath.routing.graded import require

    table = table_of(source)
    require(table, ("prompt",), "The table of prompts")
    if "prompt_id" not in table.columns:
        table = table.with_row_index("prompt_id")
    table = table.with_columns(pl.col("prompt").cast(pl.String))
    if missing := table["prompt"].null_count():
        raise InputError(f"{missing:,} prompts are null.", hint="Leave those rows out.")
    return table.select("prompt_id", "prompt")


def pair_of(router: Learned, weak: str | None, strong: str | None) -> tuple[str, str]:
    """The two models between which a threshold decides: those named, else the worst and the best
    of the router's by their predicted quality on an average prompt."""
    import numpy as np

    from swath.errors import InputError, listing

    for name in (weak, strong):
        if name is not None and name not in router.models:
            raise InputError(
                f"The router does not know '{name}'.", hint=listing(router.models, name)
            )
    mean = router.training.get("mean_quality") or {}
    if set(mean) != set(router.models):
        return weak or router.models[0], strong or router.models[-1]
    order = np.argsort([mean[m] for m in router.models], kind="stable")
    return weak or router.models[order[0]], strong or router.models[order[-1]]


def _graded_pair(source: str, weak: str | None, strong: str | None) -> Graded:
    """The grades of two models: those named, else the two that there are, the better as strong."""
    import numpy as np

    from swath.errors import InputError, listing
    from swath.routing.graded import Graded

    graded = Graded.read(table_of(source))
    if weak is not None and strong is not None:
        return graded.pair(weak, strong)
    if len(graded.models) > 2:
        raise InputError(
            f"The table grades {len(graded.models)} models.",
            hint=f"Name two with --weak and --strong. {listing(graded.models)}",
        )
    mean = np.nanmean(graded.quality, axis=0)
    first, second = np.argsort(mean, kind="stable")
    return graded.pair(graded.models[first], graded.models[second])


def _number(value: float) -> float | str:
    """JSON knows no infinity."""
    return value if abs(value) != float("inf") else str(value)
