"""What Swath itself costs a row: `python -m benchmarks.overhead`

A mock answers in 50 ms and knows no limits; every contender extracts three fields from texts of
1,000 characters. Swath does all it does (frame, checks, store, ledger); beside it a bare aiohttp
loop that posts the same bodies, and fenic. Each contender is a process of its own, the mock too;
CPU time is the contender's alone.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _report
from benchmarks._speeches import ANSWER, Argument, speeches

LATENCY = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--flight", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--fenic-rows", type=int, default=1_000, help="0 leaves fenic out")
    parser.add_argument("--repeat", type=int, default=3, help="the median counts")
    parser.add_argument("--as-swath", nargs=3, metavar=("URL", "TEXTS", "FLIGHT"))
    parser.add_argument("--profile", help="with --as-swath: a file for cProfile's figures")
    args = parser.parse_args()
    if args.as_swath:
        url, texts, flight = args.as_swath
        as_swath(url, Path(texts), args.rows, int(flight), args.profile)
    else:
        compare(args.rows, args.flight, args.fenic_rows, args.repeat)


def compare(rows: int, flights: list[int], fenic_rows: int, repeat: int) -> None:
    from tests.servers import spawn

    peers = _report.peers()
    _report.heading(
        "Overhead a row",
        _report.machine(),
        _report.versions("swath", "polars", "uvloop"),
        "peers: " + _report.peer_versions(peers, "aiohttp", "uvloop", "fenic", "openai"),
        f"{rows:,} rows (fenic {fenic_rows:,}), mock latency {LATENCY * 1e3:.0f} ms, answers of "
        f"{len(ANSWER)} characters; median of {repeat}",
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        spawn("openai", latency=LATENCY, fixed=ANSWER) as mock,
    ):
        texts, body = Path(folder) / "texts.json", Path(folder) / "body.json"
        texts.write_text(json.dumps(speeches(rows)))
        body.write_text(json.dumps(body_of(mock, texts)))
        url = ("--url", mock.base_url, "--texts", str(texts))
        contenders: list[tuple[str, int, list[str]]] = []
        for flight in flights:
            size = ["--rows", str(rows)]
            swath = [_report.PYTHON, "-m", "benchmarks.overhead", *size, "--as-swath"]
            swath += [mock.base_url, str(texts), str(flight)]
            bare = [peers, "-m", "benchmarks._bare", *url, *size, "--body", str(body)]
            contenders.append(("swath", flight, swath))
            bare += ["--flight", str(flight)]
            contenders.append(("bare aiohttp", flight, bare))
            contenders.append(("bare aiohttp, uvloop", flight, [*bare, "--uvloop"]))
        if fenic_rows:
            fenic = [peers, "-m", "benchmarks._fenic", *url, "--rows", str(fenic_rows)]
            contenders.append(("fenic", 0, fenic))
        # In turn, so that a busy minute of the machine falls on all of them.
        results: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for _ in range(repeat):
            for name, flight, command in contenders:
                mock.reset()
                result = _report.measure(command)
                stats = mock.stats()
                result["connections"] = stats["connections"] - 2  # ours: the reset, the counters
                result["peak_flight"] = stats["in_flight_peak"]
                assert stats["answered"] >= result["rows"], stats
                results.setdefault((name, flight), []).append(result)
    medians = {key: _report.medians(several) for key, several in results.items()}
    _report.table(
        ["contender", "in flight", "rows/s", "CPU µs/row", "connections", "peak RSS MiB"],
        [
            (
                name,
                flight or f"{m['peak_flight']:.0f} (its own)",
                f"{m['rows_s']:,.0f}",
                f"{m['cpu_us']:,.0f}",
                f"{m['connections']:.0f}",
                f"{m['peak_mib']:.0f}",
            )
            for (name, flight), m in medians.items()
        ],
    )
    for flight in flights:
        mine, loop = medians["swath", flight], medians["bare aiohttp", flight]
        share = mine["cpu_us"] / loop["cpu_us"]
        print(f"{flight} in flight: {share:.2f} x the bare loop's CPU a row")
        if fenic_rows:
            faster = mine["rows_s"] / medians["fenic", 0]["rows_s"]
            print(f"{flight} in flight: {faster:.0f} x fenic's rows/s")


def as_swath(url: str, texts: Path, rows: int, flight: int, profile: str | None) -> None:
    """The contender: a whole run from a table to a table, store and ledger on disk."""
    import polars as pl

    import swath as sw

    table = pl.DataFrame({"speech": json.loads(texts.read_text())[:rows]})
    with tempfile.TemporaryDirectory() as folder, session(url, folder, flight) as opened:
        frame = sw.frame(table).with_columns(argument=sw.extract("speech", Argument, model="m"))
        if profile:
            profiler = cProfile.Profile()
            opened.call(on_the_loop(profiler.enable))
        with _report.Meter() as meter:
            run = frame.run()
        if profile:
            opened.call(on_the_loop(profiler.disable))
            profiler.dump_stats(profile)
        assert run.metrics.ok == rows, run.metrics
        meter.tell(rows)


async def on_the_loop(function: Any) -> None:
    """cProfile sees one thread: the engine's, where nearly all of a row's work is done."""
    function()


def session(url: str, folder: str, flight: int) -> Any:
    import swath as sw

    model = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": url, "concurrency": flight}
    config = {"models": {"m": model}, "store": f"sqlite:///{folder}/swath.db"}
    return sw.Session(config, check=False)


def body_of(mock: Any, texts: Path) -> dict[str, Any]:
    """The body that Swath posts, as the server saw it: so that the bare loop posts the same."""
    mock.configure(keep_requests=True)
    command = [_report.PYTHON, "-m", "benchmarks.overhead", "--rows", "1", "--as-swath"]
    _report.measure([*command, mock.base_url, str(texts), "1"])
    [asked] = mock.stats(requests=True)["requests"]
    mock.configure(keep_requests=False)
    body: dict[str, Any] = asked["body"]
    return body


if __name__ == "__main__":
    main()
