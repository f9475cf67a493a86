"""`swath router eval`: routers measured as RouteLLM measures them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console

if TYPE_CHECKING:
    from swath.routing.study import Study


def evaluate(
    data: Annotated[str, typer.Option(metavar="FOLDER", help="The folder of the routing data.")],
    benchmark: Annotated[
        str, typer.Option(metavar="NAME", help="mmlu, gsm8k or mt-bench; several by comma, or all.")
    ] = "all",
    routers: Annotated[
        str,
        typer.Option(metavar="LIST", help="Kinds (trained first), files or 'default'; or all."),
    ] = "default",
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
    """Measure routers as RouteLLM does: APGR and CPT with 95% bootstrap intervals over prompts."""
    from swath.errors import OutputError
    from swath.routing import study
    from swath.routing.benchmarks import published

    names = study.chosen(benchmark)
    if plot is not None:
        from swath.routing.plot import check

        check(plot)
    asked = [r.strip() for r in routers.split(",") if r.strip()]
    screen = console.out()
    done: list[Study] = []
    known: dict[str, list[dict[str, Any]]] = {}
    progress = console.note if console.err().is_terminal else _silent
    for one in study.run(data, names, asked, resamples=resamples, seed=seed, note=progress):
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
            }
            for one in done
        ]
        try:
            Path(out).write_text(json.dumps(value, indent=1) + "\n", "utf-8")
        except OSError as error:
            raise OutputError(
                f"'{out}' cannot be written: {error.strerror}.", hint="Give another --json."
            ) from None
    if plot is not None:
        from swath.routing.plot import draw

        console.note(f"Drawn to {draw(done, known, plot)}.")


def _results(study: Study, known: list[dict[str, Any]]) -> Any:
    figures = ("APGR", "95%", "CPT(50)", "CPT(80)")
    made = console.table("router", *figures, right=figures)
    made.title = f"{study.benchmark.name}, {console.count(len(study.benchmark.prompts), 'prompt')}"
    made.title_justify = "left"
    for r in study.results:
        made.add_row(
            r.router,
            f"{r.apgr.estimate:.3f}",
            f"{r.apgr.low:.3f} to {r.apgr.high:.3f}",
            f"{r.cpt50.estimate:.1f}",
            f"{r.cpt80.estimate:.1f}",
        )
    for row in sorted(known, key=lambda row: -row["apgr"]):
        made.add_row(
            f"RouteLLM {row['router']}, {row['train_data']}",
            f"{row['apgr']:.3f}",
            "published",
            f"{row['cpt50']:.1f}",
            f"{row['cpt80']:.1f}",
        )
    return made


def _silent(text: str) -> None:
    return
