"""`swath router`: train, predict, calibrate and evaluate routers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from swath.cli import console, router_eval
from swath.cli.options import Json

if TYPE_CHECKING:
    import polars as pl

    from swath.routing.graded import Graded
    from swath.routing.router import Learned

app = typer.Typer(
    help="Routers: the cheapest model that is good enough, for each prompt.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

app.command("eval")(router_eval.evaluate)

Name = Annotated[
    str, typer.Argument(metavar="ROUTER", help="A file that `train` wrote, or 'default'.")
]
Prompts = Annotated[
    str,
    typer.Option(
        "--prompts", metavar="FILE", help="A table with prompt and, where there is one, prompt_id."
    ),
]


@app.command("train")
def train(
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="Where the router goes.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rows of prompt, model, quality (0 to 1), and source."),
    ] = None,
    from_compare: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="In place of --data: a comparison saved by sw.compare."),
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="What to train; see `swath router kinds`.")
    ] = "difficulty",
    embedding: Annotated[
        str,
        typer.Option(metavar="MODEL", help="What embeds prompts, for the kinds that need it."),
    ] = "local/minilm-l6",
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
) -> None:
    """Train a router on graded answers and save it as one file."""
    from swath.errors import InputError
    from swath.routing import training_data
    from swath.routing.artifact import save
    from swath.routing.graded import Graded
    from swath.routing.kinds import kind_of
    from swath.routing.training import train as fit

    if (data is None) == (from_compare is None):
        raise InputError(
            "Training needs either --data or --from-compare.",
            hint="For example: swath router train --data graded.parquet --out my.router",
        )
    kind_of(kind)
    if data is not None:
        graded = Graded.read(_table(data))
    else:
        assert from_compare is not None
        graded = training_data.of_comparison(from_compare)
    for text in graded.notes:
        console.note(f"Note: {text}.")
    router = fit(graded, kind, seed=seed, embedding=embedding)
    path = save(router, out)
    console.note(
        f"{kind}: {console.count(len(graded), 'prompt')}, "
        f"{console.count(len(graded.models), 'model')}, "
        f"{console.count(len(graded.sources), 'source')}. "
        f"{path}, {console.size(path.stat().st_size)}."
    )


@app.command("predict")
def predict(
    router: Name,
    prompts: Prompts,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="A table; - prints JSON lines.")
    ] = "-",
    score: Annotated[
        bool, typer.Option("--score", help="One score a prompt: how much it wants a strong model.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print why, for the first prompt, on stderr.")
    ] = False,
) -> None:
    """Predict the quality of each model on each prompt, or one score a prompt."""
    import polars as pl

    from swath.cli.tables import Target
    from swath.routing.calibrate import drift
    from swath.routing.training import load

    made = load(router)
    table = _prompts(prompts)
    target = Target(out, prompts)
    texts = made.texts(table["prompt"].to_list())
    scores = made.wants(texts)
    if score:
        result = table.select("prompt_id").with_columns(score=pl.Series(scores, dtype=pl.Float64))
    else:
        quality = made.quality(texts)
        result = pl.DataFrame(
            {
                "prompt_id": table["prompt_id"].gather(
                    [i for i in range(table.height) for _ in made.models]
                ),
                "model": list(made.models) * table.height,
                "quality": pl.Series(quality.ravel(), dtype=pl.Float64),
            }
        )
    target.save(result)
    if explain and table.height:
        _explain(made, table["prompt"][0])
    if made.calibration is not None and table.height >= 100:
        moved = drift(made.calibration.quantiles, scores)
        if moved.moved:
            console.note(
                f"Note: since calibration, {moved}. Calibrate again: swath router calibrate"
            )


@app.command("calibrate")
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
    cheap, dear = _pair(made, weak, strong)
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
        scores = made.score(_prompts(prompts)["prompt"].to_list())
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


@app.command("kinds")
def kinds() -> None:
    """List the kinds of router that can be trained."""
    from swath.routing.kinds import KINDS, kind_of

    made = console.table("kind", "embeds", "what it is", wrap=("what it is",))
    for name in KINDS:
        kind = kind_of(name)
        made.add_row(name, "yes" if kind.embeds else "no", kind.summary)
    console.out().print(made)


def _table(source: str) -> pl.DataFrame:
    from swath.cli import tables

    return tables.read(source).collect()


def _prompts(source: str) -> pl.DataFrame:
    """Prompts and their ids; the row's number where there is no id."""
    import polars as pl

    from swath.errors import InputError
    from swath.routing.graded import require

    table = _table(source)
    require(table, ("prompt",), "The table of prompts")
    if "prompt_id" not in table.columns:
        table = table.with_row_index("prompt_id")
    table = table.with_columns(pl.col("prompt").cast(pl.String))
    if missing := table["prompt"].null_count():
        raise InputError(f"{missing:,} prompts are null.", hint="Leave those rows out.")
    return table.select("prompt_id", "prompt")


def _pair(router: Learned, weak: str | None, strong: str | None) -> tuple[str, str]:
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

    graded = Graded.read(_table(source))
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


def _explain(router: Learned, prompt: str) -> None:
    why = router.explain(prompt)
    console.note(f"score {why.score:+.3f}")
    for name, value in why.parts:
        console.note(f"  {value:+.3f}  {name}")
    for near in why.neighbours:
        console.note(
            f"  row {near.row} of {near.source or 'the training table'}: likeness "
            f"{near.likeness:.2f}, difficulty {near.difficulty:+.2f}"
        )


def _number(value: float) -> float | str:
    """JSON knows no infinity."""
    return value if abs(value) != float("inf") else str(value)
