"""How much of a provider's quota Swath uses, and how often it is refused: `python -m
benchmarks.limits`

A mock for each case permits so many requests a minute and keeps its limit in one of the ways that
providers do; Swath extracts from more rows than can be had, until the time is up. The server's
counters are the figures. All cases run at once: at ten calls a second they do not disturb each
other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _report
from benchmarks._speeches import ANSWER, Argument, speeches

SETTLED = 20  # seconds after which an unknown limit should have been found


@dataclass
class Case:
    name: str
    known: bool
    knobs: dict[str, Any] = field(default_factory=dict)
    peer: bool = False

    def permitted(self, rpm: int, start: int, end: int) -> float:
        """What the mock would let through between two seconds, at the very most."""
        if self.knobs.get("window", "bucket") != "bucket":
            return rpm * (-(-end // 60) - start // 60 * bool(start))
        burst = rpm / 60 * self.knobs.get("burst_seconds", 1.0) if start == 0 else 0.0
        return burst + rpm / 60 * (end - start)


SILENT = {"headers": False}
CASES = [
    Case("bucket, burst 1 s", True, SILENT),
    Case("bucket, burst 1 s, headers", True),
    Case("bucket, burst 60 s", True, {"burst_seconds": 60.0, **SILENT}),
    Case("bucket, burst 60 s, headers", True, {"burst_seconds": 60.0}),
    Case("fixed minute", True, {"window": "fixed", **SILENT}),
    Case("sliding minute", True, {"window": "sliding", **SILENT}),
    Case("bucket, burst 1 s", False, SILENT),
    Case("bucket, burst 1 s, no Retry-After", False, {"retry_after": False, **SILENT}),
    Case("bucket, burst 60 s", False, {"burst_seconds": 60.0, **SILENT}),
    Case("bucket, burst 1 s, headers", False),
    Case("bucket, burst 1 s", True, SILENT, peer=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rpm", type=int, default=600)
    parser.add_argument("--seconds", type=int, default=120, help="whole minutes, for the windows")
    parser.add_argument("--latency", default="0.1:0.3")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--as-swath", nargs=2, metavar=("URL", "RPM"))
    args = parser.parse_args()
    if args.as_swath:
        as_swath(args.as_swath[0], int(args.as_swath[1]))
    else:
        cases = [c for c in CASES if args.only in c.name and not (c.peer and args.no_peers)]
        compare(cases, args.rpm, args.seconds, args.latency)


def compare(cases: list[Case], rpm: int, seconds: int, latency: str) -> None:
    from tests.servers import spawn

    notes = [_report.machine(), _report.versions("swath")]
    peers = ""
    if any(case.peer for case in cases):
        peers = _report.peers()
        notes.append("peers: " + _report.peer_versions(peers, "fenic", "openai"))
    notes.append(f"{rpm} requests a minute, {seconds} s, latency {latency} s")
    _report.heading("A provider's limit", *notes)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        texts = folder / "texts.json"
        texts.write_text(json.dumps(speeches(rpm * (seconds // 60 + 2))))
        mocks, clients = [], []
        for case in cases:
            mock = stack.enter_context(
                spawn("openai", fixed=ANSWER, rpm=rpm, latency=latency, **case.knobs)
            )
            mocks.append(mock)
            command = [_report.PYTHON, "-m", "benchmarks.limits", "--as-swath", mock.base_url]
            command.append(str(rpm if case.known else 0))
            if case.peer:
                command = [peers, "-m", "benchmarks._fenic", "--url", mock.base_url]
                command += ["--texts", str(texts), "--rpm", str(rpm)]
                command += ["--rows", str(rpm * (seconds // 60 + 2))]
            clients.append(_report.start(command))
        stack.callback(stop, clients)
        wait(mocks, seconds)
        figures = [mock.stats() for mock in mocks]
    rows = []
    for case, stats in zip(cases, figures, strict=True):
        accepted, refused = _by_second(stats, "accepted"), _by_second(stats, "refused")
        late = _sum(accepted, SETTLED, seconds) / case.permitted(rpm, SETTLED, seconds)
        whole = _sum(accepted, 0, seconds) / case.permitted(rpm, 0, seconds)
        asked = _sum(accepted, 0, seconds) + _sum(refused, 0, seconds)
        windowed = case.knobs.get("window", "bucket") != "bucket"
        rows.append(
            (
                "fenic" if case.peer else "swath",
                "known" if case.known else "unknown",
                case.name,
                f"{whole:.1%}",
                "" if windowed else f"{late:.1%}",
                f"{_sum(refused, 0, seconds) / max(asked, 1):.2%}",
                f"{_sum(refused, 0, seconds):.0f} of {asked:.0f}",
            )
        )
    headers = ["", "limit", "the provider", "used", f"after {SETTLED} s", "refused", ""]
    _report.table(headers, rows)


def wait(mocks: list[Any], seconds: int) -> None:
    """Until each mock has been asked for so long."""
    deadline = time.time() + seconds + 60
    for mock in mocks:
        while (started := mock.stats()["started"]) == 0 or time.time() < started + seconds + 0.5:
            if time.time() > deadline:
                return
            time.sleep(0.5)


def stop(clients: list[subprocess.Popen[str]]) -> None:
    for client in clients:
        client.kill()
        client.wait()


def _by_second(stats: dict[str, Any], what: str) -> dict[int, int]:
    return {int(second): n for second, n in stats[f"{what}_by_second"].items()}


def _sum(counts: dict[int, int], start: int, end: int) -> int:
    return sum(n for second, n in counts.items() if start <= second < end)


def as_swath(url: str, rpm: int) -> None:
    import swath as sw

    model: dict[str, Any] = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": url}
    if rpm:
        model["rpm"] = rpm
    with sw.Session({"models": {"m": model}, "store": "memory://"}, check=False):
        table = {"speech": speeches(20_000)}
        sw.frame(table).with_columns(argument=sw.extract("speech", Argument, model="m")).run()


if __name__ == "__main__":
    main()
