"""`swath router`: train, predict, calibrate and evaluate routers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from swath.cli import console, router_calibrate, router_eval, router_train
from swath.cli.router_calibrate import Name, Prompts, prompts_of

if TYPE_CHECKING:
    from swath.routing.router import Learned

app = typer.Typer(
    help="Routers: the cheapest model that is good enough, for each prompt.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

app.command("train", epilog=router_train.EXAMPLES)(router_train.train)


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
    table = prompts_of(prompts)
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


app.command("calibrate")(router_calibrate.calibrate)
app.command("eval")(router_eval.evaluate)


@app.command("kinds")
def kinds() -> None:
    """List the kinds of router that can be trained."""
    from swath.routing.kinds import KINDS, kind_of

    made = console.table("kind", "embeds", "what it is", wrap=("what it is",))
    for name in KINDS:
        kind = kind_of(name)
        made.add_row(name, "yes" if kind.embeds else "no", kind.summary)
    console.out().print(made)


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
