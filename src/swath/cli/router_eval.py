"""`swath router eval`: routers measured as RouteLLM measures them, or as RouterBench does where
there are more than two models."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console

if TYPE_CHECKING:
    from swath.routing.study import Study


def evaluate(
    data: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The folder of the routing data.")
    ] = None,
    benchmark: Annotated[
        str, typer.Option(metavar="NAME", help="mmlu, gsm8k or mt-bench; several by comma, or all.")
    ] = "all",
    routers: Annotated[
        str,
        typer.Option(metavar="LIST", help="Kinds (trained first), files or 'default'; or all."),
    ] = "default",
    graded: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="In place of --data: rows of prompt, model, quality, cost (and source, cluster), "
            "any number of models. Half of the prompts are held out; AIQ is measured.",
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --graded: measure on these rows, train on all."),
    ] = None,
    cost: Annotated[
        str, typer.Option(metavar="COLUMN", help="With --graded: the column of dollars.")
    ] = "cost",
    costs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="In its place: rows of model, cost (dollars a prompt)."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Figures and curves.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Curves, as svg, png or html.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=20, help="Bootstrap resamples over prompts.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
) -> None:
    """Measure routers as RouteLLM does: APGR and CPT with 95% bootstrap intervals over prompts.

    With --graded, on your own graded prompts: AIQ, the area under RouterBench's hull of cost and
    quality.
    """
    from swath.errors import InputError

    if (data is None) == (graded is None):
        raise InputError(
            "There is nothing to measure on.",
            hint="Give either --data, the folder of the routing data, or --graded, your own rows.",
        )
    if plot is not None:
        from swath.routing.plot import check

        check(plot)
    asked = [r.strip() for r in routers.split(",") if r.strip()]
    note = _progress()
    given = {"benchmark": benchmark, "routers": routers, "resamples": resamples, "seed": seed}
    if graded is not None:
        from swath.cli.router_graded import measure

        own = {"graded": graded, "test": test, "cost": cost, "costs": costs} | given
        del own["benchmark"]
        measure(graded, test, cost, costs, asked, out, plot, resamples, seed, note)
        console.say(reproduction(own))
        return
    assert data is not None
    _benchmarks(data, benchmark, asked, out, plot, resamples, seed, note)
    console.say(reproduction({"data": data} | given))


def _benchmarks(
    data: str,
    benchmark: str,
    asked: list[str],
    out: str | None,
    plot: str | None,
    resamples: int,
    seed: int,
    note: Callable[[str], None],
) -> None:
    from swath.routing import study
    from swath.routing.benchmarks import commercial, published

    screen = console.out()
    done: list[Study] = []
    known: dict[str, list[dict[str, Any]]] = {}
    for one in study.run(
        data, study.chosen(benchmark), asked, resamples=resamples, seed=seed, note=note
    ):
        name = one.benchmark.name
        known[name] = published(data, name)
        screen.print(_results(one, known[name]))
        screen.print()
        done.append(one)
    if out is not None:
        value = [
            {
                "benchmark": one.benchmark.name,
                "n": len(one.benchmark.prompts),
                "seed": seed,
                "resamples": resamples,
                "results": [r.as_dict() for r in one.results],
                "published": known[one.benchmark.name],
                "commercial": commercial(one.benchmark.name),
            }
            for one in done
        ]
        write(out, value)
    if plot is not None:
        from swath.routing.plot import draw

        console.note(f"Drawn to {draw(done, known, plot)}.")


def write(out: str, value: Any) -> None:
    """The figures as JSON. Raises OutputError."""
    from swath.errors import OutputError

    try:
        Path(out).write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(
            f"'{out}' cannot be written: {error.strerror}.", hint="Give another --json."
        ) from None


def reproduction(options: dict[str, Any]) -> str:
    """The command that gives the same table again, and the versions that it was made with."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    words = ["swath", "router", "eval"]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    versions = [f"Python {platform.python_version()}"]
    for name in ("swath", "numpy", "scikit-learn", "lightgbm", "onnxruntime"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"The same again: {shlex.join(words)}\n({', '.join(versions)})"


def _results(study: Study, known: list[dict[str, Any]]) -> Any:
    from swath.routing.benchmarks import commercial

    figures = ("n", "APGR", "95%", "CPT(50)", "CPT(80)")
    made = console.table("router", *figures, right=figures)
    made.title = f"{study.benchmark.name}, {console.count(len(study.benchmark.prompts), 'prompt')}"
    made.title_justify = "left"
    for r in study.results:
        made.add_row(
            r.router,
            f"{r.n:,}",
            f"{r.apgr.estimate:.3f}",
            f"{r.apgr.low:.3f} to {r.apgr.high:.3f}",
            f"{r.cpt50.estimate:.1f}",
            f"{r.cpt80.estimate:.1f}",
        )
    for row in sorted(known, key=lambda row: -row["apgr"]):
        made.add_row(
            f"RouteLLM {row['router']}, {row['train_data']}",
            "",
            f"{row['apgr']:.3f}",
            "published",
            f"{row['cpt50']:.1f}",
            f"{row['cpt80']:.1f}",
        )
    points = [
        f"{p['router']} {pgr(p):.0%} of the gap at {p['strong_share']:.4g}% strong calls"
        f" (weak model: {p['weak_model']})"
        for p in commercial(study.benchmark.name)
    ]
    if points:
        made.caption = f"One point each, published by RouteLLM's authors: {'; '.join(points)}."
        made.caption_justify = "left"
    return made


def pgr(point: dict[str, Any]) -> float:
    """The part of its own pair's gap that a commercial router recovered."""
    gap: float = point["strong"] - point["weak"]
    return float((point["quality"] - point["weak"]) / gap)


def _progress() -> Callable[[str], None]:
    """Notes with the time passed, on a terminal only."""
    if not console.err().is_terminal:
        return lambda text: None
    start = time.monotonic()
    return lambda text: console.note(f"{console.duration(time.monotonic() - start):>12}  {text}")
