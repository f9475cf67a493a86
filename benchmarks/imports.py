"""What an import costs: `python -m benchmarks.imports`

Each import in fresh processes, after one that warms the disk's cache; the median counts. Memory is
resident, of the whole process, an empty interpreter's included.
"""

from __future__ import annotations

import argparse

from benchmarks import _report

_CODE = """
import json, sys, time
start = time.perf_counter()
{statement}
took = time.perf_counter() - start
from benchmarks._report import peak_mib
print(json.dumps(dict(ms=took * 1e3, mib=peak_mib())))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    cases = [
        ("(nothing)", _report.PYTHON, "pass"),
        ("import swath", _report.PYTHON, "import swath"),
        ("… and its frame", _report.PYTHON, "from swath import extract, frame"),
        ("import polars", _report.PYTHON, "import polars"),
    ]
    notes = [_report.machine(), _report.versions("swath", "polars", "pydantic")]
    if not args.no_peers:
        peers = _report.peers()
        cases.append(("import fenic", peers, "import fenic"))
        notes.append("peers: " + _report.peer_versions(peers, "fenic"))
    _report.heading("Imports", *notes, f"median of {args.repeat} processes")
    rows = []
    for name, python, statement in cases:
        command = [python, "-c", _CODE.format(statement=statement)]
        _report.measure(command)
        median = _report.medians([_report.measure(command) for _ in range(args.repeat)])
        rows.append((name, f"{median['ms']:,.0f}", f"{median['mib']:.0f}"))
    _report.table(["", "ms", "RSS MiB"], rows)


if __name__ == "__main__":
    main()
