"""`swath judge stats`: what verdicts say about the models, and whether to believe the judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    from rich.table import Table

EXAMPLES = (
    "For example: swath judge stats verdicts.parquet --items items.parquet --human human.parquet "
    "--by judge,strategy --json out.json"
)
_FEW = 3  # groups up to which each is shown whole
_MODELS = 12  # models of a group that are shown


def stats(
    verdicts: Annotated[
        str,
        typer.Argument(
            metavar="VERDICTS",
            help="A table of verdicts: item_id, judge, order (AB, BA, both), verdict (A, B, tie, "
            "empty: not parsed); or of labels: item_id, annotator, label. - is a pipe.",
        ),
    ],
    items: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="item_id, and model_a, model_b, gold, … where known."),
    ] = None,
    human: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="People's labels: item_id, annotator, label."),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="A,B", help="Columns to group by, of verdicts or items.")
    ] = "",
    out: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write all as JSON; - prints it.")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What was drawn independently and is resampled: else cluster, prompt_id or "
            "question_id where there is one, else item_id.",
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=100, help="How often to resample for an interval.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The same seed, the same.")] = 0,
) -> None:
    """Rates, agreement and models' strengths from verdicts, each with its interval."""
    from swath.evals.stats.summarize import summarize

    target = _target(out)
    columns = [name.strip() for name in by.split(",") if name.strip()]
    groups = summarize(
        _read(verdicts),
        None if items is None else _read(items),
        None if human is None else _read(human),
        columns,
        unit=unit,
        resamples=resamples,
        seed=seed,
    )
    if human is not None and not any(group["more"]["labelled"] for group in groups):
        console.note(
            "None of the labels belongs to an item that was judged: do the item_id differ?"
        )
    if out == "-":
        console.say_json(groups)
        return
    if target is not None:
        import json

        target.write_text(json.dumps(groups, indent=1, ensure_ascii=False, default=str), "utf-8")
    _show(groups, columns)
    if target is not None:
        console.note(f"Wrote {console.count(len(groups), 'group')} to {target}")


def _read(source: str) -> pl.DataFrame:
    from swath.cli import tables

    return tables.read(source).collect(progress=False)


def _target(out: str | None) -> Path | None:
    """Where the JSON goes, checked before anything is read."""
    if out is None or out == "-":
        return None
    from swath.frames.writers import writable

    return writable(out)


def _show(groups: list[dict[str, Any]], by: list[str]) -> None:
    screen = console.out()
    screen.print(_overview(groups, by))
    for group in groups[: _FEW if len(groups) <= _FEW else 0]:
        name = ", ".join(str(group[column]) for column in by)
        more = group["more"]
        if more["trust"]:
            screen.print(f"\n{name + ': ' if name else ''}{more['trust']}", soft_wrap=True)
        if more["decision"]:
            screen.print(more["decision"]["sentence"], soft_wrap=True)
        if more["self_preference"]:
            screen.print(more["self_preference"]["sentence"], soft_wrap=True)
        if group["win_rate"]:
            screen.print()
            screen.print(_models(group))
            left = len(group["win_rate"]) - _MODELS
            if left > 0:
                screen.print(f"and {left} more models: --json writes them", style="dim")
    if len(groups) > _FEW:
        screen.print("\nRates of models, intervals and reasons: --json FILE", style="dim")


def _overview(groups: list[dict[str, Any]], by: list[str]) -> Table:
    """A row a group; columns that no group has are left out."""
    figures = {
        "first_rate": "first picked",
        "order_agreement": "orders agree",
        "accuracy": "accuracy",
        "human_agreement": "with labels",
        "human_kappa": "kappa",
    }
    known = [name for name in figures if any(group[name] is not None for group in groups)]
    heads = [figures[name] for name in known]
    numbers = ["items", "unparsed", *heads]
    judged = any(group["more"]["usable"] is not None for group in groups)
    made = console.table(*by, *numbers, *(["usable"] if judged else []), right=numbers, wrap=by)
    said = {True: "yes", False: "no", None: "–"}
    for group in groups:
        made.add_row(
            *(str(group[column]) for column in by),
            console.count(group["n"]),
            console.count(group["unparsed"]),
            *(_kappa(group[n]) if n == "human_kappa" else _percent(group[n]) for n in known),
            *([said[group["more"]["usable"]]] if judged else []),
        )
    return made


def _models(group: dict[str, Any]) -> Table:
    """A row a model, the best first, each figure with its 95% interval."""
    corrected, alone = group["ppi"], group["more"]["labels_alone"]
    equal = group["more"]["length_controlled"]
    strengths = group["bradley_terry"]
    shown: dict[str, dict[str, Any] | None] = {
        "wins": group["win_rate"],
        "equal length": equal,
        "strength": strengths,
        "labels alone": alone,
        "labels and judge": corrected,
    }
    kept = {head: values for head, values in shown.items() if values}
    made = console.table("model", *kept, right=list(kept), wrap=("model",))
    for model in list(group["win_rate"])[:_MODELS]:
        made.add_row(
            model,
            *(
                _interval(values.get(model), 3 if head == "strength" else 0)
                for head, values in kept.items()
            ),
        )
    return made


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _kappa(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _interval(one: dict[str, Any] | None, digits: int) -> str:
    """61% (54 to 68), or 0.412 (0.380 to 0.450) where digits are asked for."""
    if one is None or one["low"] is None:
        return "–"
    if digits:
        return f"{one['estimate']:.{digits}f} ({one['low']:.{digits}f}–{one['high']:.{digits}f})"
    return f"{one['estimate']:.0%} ({one['low'] * 100:.0f}–{one['high'] * 100:.0f})"
