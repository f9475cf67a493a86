"""A large table whose answers are all in the store: `python -m benchmarks.replay`

Texts of 200 characters in a Parquet file, distinct; a plan with one model column; no server. The
store is filled first, in a process of its own: an answer of about 240 characters under each
question's content hash, written through the store as the engine writes it. What is measured is the
plan alone: into a Parquet file, and into a table in memory.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import _report
from benchmarks._speeches import ANSWER, Argument, speeches

CHARS = 200
SLICE = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="keep the table and the store here, and use what is there")
    parser.add_argument("--as", dest="role", choices=["fill", "write", "collect"])
    args = parser.parse_args()
    if args.role:
        role = {"fill": fill, "write": write, "collect": collect}[args.role]
        role(Path(args.folder), args.rows)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        compare(folder, args.rows)


def compare(folder: Path, rows: int) -> None:
    _report.heading("Replay", _report.machine(), _report.versions("swath", "polars"))
    command = [_report.PYTHON, "-m", "benchmarks.replay", "--rows", str(rows)]
    command += ["--folder", str(folder), "--as"]
    if not (folder / f"{rows}.parquet").exists():
        filled = _report.measure([*command, "fill"])
        print(f"filled the store in {filled['seconds']:.0f} s ({filled['rows_s']:,.0f} rows/s)")
    size = (folder / "swath.db").stat().st_size / 2**20
    print(f"{rows:,} rows, store of {size:,.0f} MiB\n")
    lines = []
    for role, what in (("write", "into a Parquet file"), ("collect", "into a table in memory")):
        told = _report.measure([*command, role])
        lines.append(
            (
                what,
                f"{told['seconds']:.0f}",
                f"{told['rows_s']:,.0f}",
                f"{told['cpu_us']:.0f}",
                f"{told['peak_mib']:,.0f}",
                f"{told['table_mib']:,.0f}" if told["table_mib"] else "",
            )
        )
    headers = ["", "seconds", "rows/s", "CPU µs/row", "peak RSS MiB", "of it the table"]
    _report.table(headers, lines)


def texts(rows: int) -> Iterator[list[str]]:
    base = [text[: CHARS - 10] for text in speeches(2_000)]
    for start in range(0, rows, SLICE):
        end = min(start + SLICE, rows)
        yield [f"{i:9} {base[i % len(base)]}" for i in range(start, end)]


def fill(folder: Path, rows: int) -> None:
    import asyncio

    import polars as pl

    from swath.messages import Completion, Usage

    usage = Usage(input_tokens=120, output_tokens=60)
    parts = []
    with _report.Meter() as meter, session(folder) as opened:
        engine = opened.engine

        async def store(part: pl.DataFrame) -> None:
            for first in range(0, part.height, 1_000):  # a bounded number of writes under way
                asked = column().requests(part[first : first + 1_000], "m")
                answers = (
                    Completion(text=answer(first + i), model="m", model_id="mock", usage=usage)
                    for i in range(len(asked))
                )
                keys = [engine.hash(request) for request in asked if request is not None]
                await asyncio.gather(*map(engine.store.put, keys, answers))

        for part in texts(rows):
            table = pl.DataFrame({"speech": part})
            opened.call(store(table))
            parts.append(table)
    pl.concat(parts).write_parquet(folder / f"{rows}.parquet")
    meter.tell(rows)


def answer(i: int) -> str:
    return ANSWER.replace("motorways", f"motorways ({i})")


def write(folder: Path, rows: int) -> None:
    out = folder / "out.parquet"
    with session(folder), _report.Meter() as meter:
        run = plan(folder, rows).write_parquet(out)
    assert (run.metrics.cached, run.metrics.calls) == (rows, 0), run.metrics
    meter.tell(rows, table_mib=0)


def collect(folder: Path, rows: int) -> None:
    with session(folder), _report.Meter() as meter:
        run = plan(folder, rows).run()
    assert (run.metrics.cached, run.metrics.calls) == (rows, 0), run.metrics
    assert run.table["argument"].null_count() == 0
    meter.tell(rows, table_mib=run.table.estimated_size() / 2**20)


def plan(folder: Path, rows: int) -> Any:
    import swath as sw

    return sw.read_parquet(folder / f"{rows}.parquet").with_columns(argument=column())


def column() -> Any:
    import swath as sw

    return sw.extract("speech", Argument, model="m")


def session(folder: Path) -> Any:
    import swath as sw

    # Nobody listens there: a question that the store does not hold would fail.
    model = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": "http://127.0.0.1:1/v1"}
    config = {"models": {"m": model}, "store": f"sqlite:///{folder}/swath.db"}
    return sw.Session(config, check=False)


if __name__ == "__main__":
    main()
