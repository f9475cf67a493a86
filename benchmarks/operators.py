"""The operators beside fenic and LOTUS: `python -m benchmarks.operators [--local]`

One mock server that is always right, 50 ms a call; the same rows and the same words for all. Each
contender is a process of its own, fenic and LOTUS each in an environment of its own, made on first
use. Calls and tokens are counted by the server (four characters a token), for all alike. `--local`
asks the packaged model instead, over a few rows, through a loopback server.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import _operators_data as data
from benchmarks import _report

LATENCY = 0.05
PRICE = (0.10, 0.40)  # dollars a million tokens in and out: gpt-4.1-nano's
SELF_JOIN = 256
PUBLISHED = (  # the same query, as the systems' authors and others report it
    ("LOTUS", "$1.79", "0.20"),
    ("Palimpzest", "$7.72", "0.68"),
    ("ThalamusDB", "$0.15", "0.57"),
    ("BigQuery", "$3.26", "0.70"),
)


@dataclass(frozen=True)
class System:
    name: str
    python: str
    module: str
    tasks: tuple[str, ...] = data.TASKS
    more: tuple[str, ...] = ()  # options of its own

    def command(self, task: str, rows: int, url: str, out: Path, args: Any) -> list[str]:
        said = {"url": url, "task": task, "rows": rows, "k": args.k, "flight": args.flight}
        options = [str(part) for k, v in said.items() for part in (f"--{k}", v)]
        return [self.python, "-m", self.module, *options, *self.more, "--out", str(out)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="of predicate, map and extract (2,000; local 8)")
    parser.add_argument("--join", type=int, help="names a side (100; local 4)")
    parser.add_argument("--top", type=int, help="products to rank (300; local 8)")
    parser.add_argument("--self-join", type=int, default=SELF_JOIN, help="reviews; 0 for none")
    parser.add_argument("--k", type=int, help="of the top (10; local 3)")
    parser.add_argument("--flight", type=int, default=100, help="calls in flight")
    parser.add_argument("--repeat", type=int, default=1, help="the median counts")
    parser.add_argument("--tasks", nargs="+", choices=data.TASKS, default=data.TASKS)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--local", action="store_true", help="ask the packaged model")
    args = parser.parse_args()
    small = args.local
    args.rows = args.rows or (8 if small else 2_000)
    args.join = args.join or (4 if small else 100)
    args.top = args.top or (8 if small else 300)
    args.k = args.k or (3 if small else data.K)
    found = systems(not args.no_peers)
    heading(args, found)
    told = {task: compared(task, args, found) for task in args.tasks}
    columns = ["calls", "tokens in", "out", "dollars", "seconds", "rows/s", "in flight", "RSS MiB"]
    lines = [[task, name, *cells(each)] for task in told for name, each in told[task].items()]
    _report.table(["task", "system", *columns, "quality"], lines)
    for task, systems_told in told.items():
        beside(task, systems_told)
    if args.self_join and not small:
        reviews(args, found[0])


def systems(peers: bool) -> list[System]:
    from swath.local import weights

    found = [System("swath", _report.PYTHON, "benchmarks._operators_swath")]
    if peers:
        lotus, module = _report.peers("lotus"), "benchmarks._operators_lotus"
        encoder = ("--encoder", str(weights.obtain(weights.DEFAULT_EMBED).parent))
        # fenic has no ranking operator.
        found += [
            System("fenic", _report.peers(), "benchmarks._operators_fenic", data.TASKS[:-1]),
            System("LOTUS", lotus, module),
            System("LOTUS, cascade", lotus, module, ("join",), encoder),
        ]
    return found


def heading(args: Any, found: list[System]) -> None:
    packages = {"fenic": ("fenic", "openai"), "LOTUS": ("lotus-ai", "litellm")}
    peers = [_report.peer_versions(s.python, *packages[s.name]) for s in found[1:3]]
    asked = "the packaged local model" if args.local else f"mock latency {LATENCY * 1e3:.0f} ms"
    _report.heading(
        "Operators",
        _report.machine(),
        ", ".join([_report.versions("swath", "polars"), *peers]),
        f"{args.rows:,} rows (join {args.join} x {args.join}, top {args.k} of {args.top})",
        f"{asked}, at most {args.flight} in flight (fenic: its own choice)",
        f"${PRICE[0]} a million tokens in, ${PRICE[1]} out; median of {args.repeat}; "
        + "quality: "
        + ", ".join(f"{task} {data.MEASURES[task]}" for task in args.tasks),
    )


Told = dict[str, Any]


def compared(task: str, args: Any, found: list[System]) -> dict[str, Told]:
    """Each system's medians on the task, those that have such an operator."""
    rows = {"join": args.join, "top-k": args.top}.get(task, args.rows)
    taking = [system for system in found if task in system.tasks]
    told: dict[str, list[Told]] = {}
    with server(task, args) as mock:
        for _ in range(args.repeat):  # in turn: a busy minute falls on all of them
            for system in taking:
                told.setdefault(system.name, []).append(one(system, task, rows, mock, args))
    return {name: _report.medians(several) for name, several in told.items()}


def beside(task: str, told: dict[str, Told]) -> None:
    """How the first stands beside each of the others."""
    (name, mine), *others = told.items()
    for other, its in others:
        print(
            f"{task}: {name} makes {mine['calls'] / its['calls']:.2f} x the calls of {other}, at "
            f"{mine['rows_s'] / its['rows_s']:.1f} x its rows/s and "
            f"{mine['dollars'] / its['dollars']:.2f} x its dollars"
        )


def one(system: System, task: str, rows: int, mock: Any, args: Any) -> Told:
    """A contender's run: its meter, the server's counters, and the quality of the answers."""
    mock.reset()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answers.json"
        told = _report.measure(system.command(task, rows, mock.base_url, out, args))
        told["quality"] = data.quality(task, rows, json.loads(out.read_text()), args.k)
    stats = mock.stats()
    tokens = (stats["prompt_tokens"], stats["completion_tokens"])
    told["calls"], told["in"], told["out"] = stats["answered"], *tokens
    told["dollars"] = sum(n * price / 1e6 for n, price in zip(tokens, PRICE, strict=True))
    told["flight"] = stats["in_flight_peak"]
    return told


def cells(told: Told) -> list[str]:
    return [
        f"{told['calls']:,.0f}",
        f"{told['in']:,.0f}",
        f"{told['out']:,.0f}",
        f"{told['dollars']:.4f}",
        f"{told['seconds']:.1f}",
        f"{told['rows_s']:,.0f}",
        f"{told['flight']:.0f}",
        f"{told['peak_mib']:,.0f}",
        f"{told['quality']:.3f}",
    ]


def reviews(args: Any, swath: System) -> None:
    """The self-join on a property of each row, beside what others published."""
    n = args.self_join
    with server("self-join", args) as mock:
        told = one(swath, "self-join", n, mock, args)
    _report.heading(
        f"Same sentiment: {n} reviews with themselves",
        f"{n * (n - 1):,} ordered pairs. The mock is always right: Swath's F1 is that of the "
        "plan, and with a real model that of its labels. The others' figures are as published, of "
        "real models.",
    )
    mine = ["swath", f"{told['calls']:,.0f}", f"${told['dollars']:.4f}", f"{told['quality']:.2f}"]
    others = [[f"{name} (published)", "", cost, f1] for name, cost, f1 in PUBLISHED]
    _report.table(["system", "calls", "cost", "F1"], [mine, *others])


@contextmanager
def server(task: str, args: Any) -> Iterator[Any]:
    """The mock that knows the task's answers, or the local model behind the same doors."""
    if args.local:
        from benchmarks._operators_gateway import gateway

        with gateway() as local:
            yield local
        return
    from benchmarks._operators_truth import hook
    from tests.servers import spawn

    with spawn("openai", latency=LATENCY, respond=hook(task)) as mock:
        yield mock


if __name__ == "__main__":
    main()
