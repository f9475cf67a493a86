"""`swath router train`: from whatever the user has, to one file, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console, router_next
from swath.cli.options import ConfigPath
from swath.cli.router_asked import Asked
from swath.cli.router_calibrate import table_of

EXAMPLES = """\b
swath router train --from-compare last --hold-out held.parquet --out my.router
swath router train --prompts asked.csv --models small,large --judge big --max-cost 2 --out my.router
swath router train --data graded.parquet --from-pairs votes.parquet --out my.router
"""
HELD = 0.5  # of the prompts: as many are needed to prove a quality as to learn

if TYPE_CHECKING:
    from swath.config import Config
    from swath.routing.graded import Graded
    from swath.routing.router import Learned


def train(
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="Where the router goes.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rows of prompt, model, quality (0 to 1), and source."),
    ] = None,
    from_compare: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="A judged comparison: its id, its folder, or last, the newest."
        ),
    ] = None,
    from_pairs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rows of prompt, model_a, model_b, verdict (A, B, tie)."),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="With --from-pairs: prompts and models by item_id, where apart."
        ),
    ] = None,
    from_golden: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A golden set (golden.toml), or a report of swath eval --json."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Prompts to ask --models, judged by --judge: a table with prompt, or messages.",
        ),
    ] = None,
    from_calls: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Like --prompts, with those that the ledger kept (keep_prompts = true): of a run, "
            "of the last one, or all.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="ALIASES", help="With --prompts or a golden set: two or more."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="ALIAS", help="With --prompts: judges the answers; several with commas: a jury."
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(metavar="N", min=2, help="With --prompts: ask about so many of them.")
    ] = 300,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Never spend more than this.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what --prompts would take, and stop.")
    ] = False,
    hold_out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Train on half of the prompts; write the grades of the other half here, for "
            "calibrate --quality.",
        ),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            metavar="WEAK,STRONG",
            help="Of many models only these two: the score is then what the strong one gains.",
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="What to train; see `swath router kinds`.")
    ] = "difficulty",
    embedding: Annotated[
        str,
        typer.Option(metavar="MODEL", help="What embeds prompts, for the kinds that need it."),
    ] = "local/minilm-l6",
    tune: Annotated[
        bool,
        typer.Option("--tune", help="With --kind causal: teach the language model first (LoRA)."),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
    config: ConfigPath = None,
) -> None:
    """Train a router on graded answers and save it as one file.

    Grades come from any of --data, --from-compare, --from-pairs, --from-golden and --prompts (or
    --from-calls); several together are several sources, which are never put on one scale. Only
    --prompts, --from-calls and a golden set that is not a report ask models: what the store has
    costs nothing, and running the same again pays only for what is missing, also after Ctrl-C (exit
    status 130) or a budget (3).
    """
    from swath.cli.compare import names
    from swath.errors import InputError
    from swath.frames.writers import writable
    from swath.routing import training_data
    from swath.routing.artifact import save
    from swath.routing.calibrate import ENOUGH
    from swath.routing.graded import Graded
    from swath.routing.kinds import kind_of
    from swath.routing.training import train as fit

    _check(
        grades={
            "--data": data,
            "--from-compare": from_compare,
            "--from-pairs": from_pairs,
            "--from-golden": from_golden,
            "--prompts": prompts,
            "--from-calls": from_calls,
        },
        rest={"--models": models, "--judge": judge, "--items": items, "--dry-run": dry_run or None},
    )
    kind_of(kind)
    if tune and kind != "causal":
        raise InputError(f"--tune is for --kind causal, not {kind}.", hint="Leave it out.")
    writable(out)
    target = None if hold_out is None else _target(hold_out)
    parts: dict[str, Graded] = {}
    own = data  # a file of prompts that `calibrate` can read
    if data is not None:
        parts["data"] = Graded.read(table_of(data))
    if from_compare is not None:
        parts["compare"] = training_data.of_comparison(from_compare, config=_config(config))
    if from_pairs is not None:
        about = None if items is None else table_of(items)
        parts["pairs"] = training_data.of_pairs(table_of(from_pairs), about)
    asked = Asked(config, models, max_cost, seed)
    if from_golden is not None:
        parts["golden"] = asked.golden(from_golden)
    if prompts is not None or from_calls is not None:
        if prompts is not None:
            table = table_of(prompts)
        else:
            assert from_calls is not None
            table = asked.kept(from_calls)
        own = own if prompts is None or "messages" in table.columns else prompts
        judged = asked.judged(table, judge, sample, dry_run)
        if judged is None:
            return
        parts["judged"] = judged
    graded = training_data.combined(parts)
    for text in graded.notes:
        console.note(f"Note: {text}.")
    if pair is not None:
        two = names(pair)
        if len(two) != 2:
            raise InputError(f"--pair names {len(two)} models.", hint="Give --pair weak,strong.")
        graded = graded.pair(*two)
    used = graded
    if target is not None:
        used, held = training_data.held_out(graded, HELD)
        target.save(training_data.rows_of(held))
        console.note(f"Held out: {console.count(len(held), 'prompt')}, the grades in {hold_out}.")
        if len(held) < ENOUGH:
            console.note(f"Note: to calibrate on, {ENOUGH} are the least, and some hundred better.")
    made: Learned
    if tune:
        from swath.routing.causal import tuned

        made = tuned(used, embedding, seed)
    else:
        made = fit(used, kind, seed=seed, embedding=embedding)
    for text in made.notes:
        console.note(f"Note: {text}.")
    path = save(made, out)
    console.note(
        f"{kind}: {console.count(len(used), 'prompt')}, "
        f"{console.count(len(used.models), 'model')}, "
        f"{console.count(len(used.sources), 'source')}. "
        f"{path}, {console.size(path.stat().st_size)}."
    )
    for line in [
        *router_next.means(used),
        *router_next.steps(made, out, own, hold_out, config),
    ]:
        console.note(line)


def _check(grades: dict[str, str | None], rest: dict[str, Any]) -> None:
    """What belongs together."""
    from swath.errors import InputError

    given = [name for name, value in grades.items() if value is not None]
    if not given:
        raise InputError(
            f"Training needs grades: {', '.join(grades)}.",
            hint="For example: swath router train --from-compare last --out my.router",
        )
    asks = [name for name in ("--prompts", "--from-calls") if name in given]
    if len(asks) == 2:
        raise InputError("--prompts and --from-calls both say what to ask.", hint="Give one.")
    if asks and (rest["--models"] is None or rest["--judge"] is None):
        raise InputError(
            f"{asks[0]} needs the models to ask and a judge of their answers.",
            hint="Give --models small,large --judge big.",
        )
    for name, wanted in (
        ("--models", ("--prompts", "--from-calls", "--from-golden")),
        ("--judge", ("--prompts", "--from-calls")),
        ("--dry-run", ("--prompts", "--from-calls")),
        ("--items", ("--from-pairs",)),
    ):
        if rest[name] is not None and not set(wanted) & set(given):
            told = " or ".join(wanted)
            raise InputError(f"{name} is for {told}.", hint=f"Leave it out, or give {wanted[0]}.")


def _config(config: str | None) -> Config:
    from swath.config import load

    return load(config)


def _target(name: str) -> Any:
    from swath.cli.tables import PIPE, Target

    return Target(name, PIPE)
