"""A plan of several stages, all answers in the store: `python -m benchmarks.million`

    filter ─▶ predicate ─▶ extract, classify ─▶ map on what was extracted ─▶ group_by

Rows are texts of 200 characters in a Parquet file, distinct. The store is filled first, in a
process of its own, by a pretended model that answers at once: under each question's content hash,
through the store. No server runs: a question that is not in the store would fail. What is measured
is the plan: its memory must not grow with the rows. `--rows` may be several, to see that.
"""

from __future__ import annotations

import argparse
import cProfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import _report
from benchmarks._speeches import ANSWER, Argument
from benchmarks.overhead import on_the_loop
from benchmarks.replay import session, texts

STANCES = ("for", "against", "neutral")
TOPICS = ("transport", "budget", "farming", "energy", "health")
ROLES = {"write": "into a Parquet file", "group": "into groups", "collect": "into memory"}
AT_ONCE = 1_000  # writes under way while the store is filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", help="keep the tables and the stores here, and use what is")
    parser.add_argument("--roles", nargs="+", choices=ROLES, default=["write", "group"])
    parser.add_argument("--as", dest="role", choices=["fill", *ROLES])
    parser.add_argument("--profile", type=Path, help="with --as: a file for cProfile's figures")
    args = parser.parse_args()
    if args.role:
        [rows] = args.rows
        work(args.role, Path(args.folder), rows, args.profile)
        return
    _report.heading("Plan of six stages", _report.machine(), _report.versions("swath", "polars"))
    lines: list[list[str]] = []
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(args.folder or temporary) / str(rows)
            lines += measured(folder, rows, args.roles)
    headers = ["rows", "", "answers", "seconds", "rows/s", "answers/s", "CPU µs/row"]
    _report.table([*headers, "peak RSS MiB", "after imports"], lines)


def measured(folder: Path, rows: int, roles: Sequence[str]) -> Iterator[list[str]]:
    command = [_report.PYTHON, "-m", "benchmarks.million", "--rows", str(rows)]
    command += ["--folder", str(folder), "--as"]
    if not (folder / "speeches.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        filled = _report.measure([*command, "fill"])
        size = (folder / "swath.db").stat().st_size / 2**20
        print(
            f"{rows:,} rows: filled the store with {filled['answers']:,} answers in "
            f"{filled['seconds']:.0f} s ({size:,.0f} MiB)",
            flush=True,
        )
    for role in roles:
        told = _report.measure([*command, role])
        yield [
            f"{rows:,}",
            ROLES[role],
            f"{told['answers']:,}",
            f"{told['seconds']:.1f}",
            f"{told['rows_s']:,.0f}",
            f"{told['answers'] / told['seconds']:,.0f}",
            f"{told['cpu_us']:.0f}",
            f"{told['peak_mib']:,.0f}",
            f"{told['before_mib']:,.0f}",
        ]


# -- the plan


def kept(i: int) -> bool:
    return i % 10 != 0


def wanted(i: int) -> bool:
    """What the pretended model says to the condition."""
    return i % 2 == 1


def plan(folder: Path) -> Any:
    import polars as pl

    import swath as sw

    return (
        sw.read_parquet(folder / "speeches.parquet")
        .filter(pl.col("id") % 10 != 0)
        .with_columns(argument=argument())
        .filter(demand())
        .with_columns(topic=topic(), reply=reply())
    )


def grouped(folder: Path) -> Any:
    import polars as pl

    against = pl.col("argument").struct.field("stance") == "against"
    return (
        plan(folder)
        .group_by("topic")
        .agg(
            speeches=pl.len(),
            against=against.mean(),
            reply=pl.col("reply").str.len_chars().mean(),
        )
    )


def argument() -> Any:
    import swath as sw

    return sw.extract("speech", Argument, model="m")


def demand() -> Any:
    import swath as sw

    return sw.predicate("The speaker demands something: {speech}", model="m")


def topic() -> Any:
    import swath as sw

    return sw.classify("speech", TOPICS, model="m")


def reply() -> Any:
    import swath as sw

    return sw.map("Answer this claim in a sentence: {argument.claim}", model="m")


# -- filling and running it


def work(role: str, folder: Path, rows: int, profile: Path | None) -> None:
    if role == "fill":
        fill(folder, rows)
        return
    import swath.frames  # noqa: F401  what an import takes is told beside

    with session(folder) as opened:
        before = _report.peak_mib()
        profiler = cProfile.Profile()
        if profile:
            opened.call(on_the_loop(profiler.enable))
        with _report.Meter() as meter:
            if role == "write":
                run = plan(folder).write_parquet(folder / "out.parquet", progress=False)
            else:
                run = (plan if role == "collect" else grouped)(folder).run(progress=False)
        if profile:
            opened.call(on_the_loop(profiler.disable))
            profiler.dump_stats(profile)
    ids = [i for i in range(rows) if kept(i)]
    demanded = sum(map(wanted, ids))
    answers = len(ids) + 3 * demanded
    assert (run.metrics.cached, run.metrics.calls) == (answers, 0), run.metrics
    assert not run.errors.height, run.errors
    if role == "group":
        assert run.table["speeches"].sum() == demanded
    meter.tell(rows, answers=answers, before_mib=before)


def fill(folder: Path, rows: int) -> None:
    import asyncio

    import polars as pl

    from swath.messages import Completion, Usage

    usage = Usage(input_tokens=120, output_tokens=60)
    parts: list[pl.DataFrame] = []
    with _report.Meter() as meter, session(folder) as opened:
        engine = opened.engine

        async def store(operator: Any, table: pl.DataFrame, said: Sequence[str]) -> None:
            for start in range(0, table.height, AT_ONCE):
                asked = operator.requests(table[start : start + AT_ONCE], "m")
                keys = [engine.hash(request) for request in asked]
                answers = [
                    Completion(text=text, model="m", model_id="mock", usage=usage)
                    for text in said[start : start + AT_ONCE]
                ]
                await asyncio.gather(*map(engine.store.put, keys, answers))

        written = 0
        for part in texts(rows):
            first = sum(each.height for each in parts)
            table = pl.DataFrame({"id": range(first, first + len(part)), "speech": part})
            parts.append(table)
            few = table.filter(pl.col("id") % 10 != 0)
            opened.call(store(demand(), few, ["yes" if wanted(i) else "no" for i in few["id"]]))
            some = few.filter(pl.Series([wanted(i) for i in few["id"]]))
            ids = some["id"].to_list()
            found = [answer(i) for i in ids]
            opened.call(store(argument(), some, found))
            opened.call(store(topic(), some, [TOPICS[i % len(TOPICS)] for i in ids]))
            read = pl.Series("argument", found).str.json_decode(
                pl.Struct(dict.fromkeys(Argument.model_fields, pl.String))
            )
            said = [f"To claim {i}: that was agreed on in the committee last year." for i in ids]
            opened.call(store(reply(), some.with_columns(read), said))
            written += few.height + 3 * some.height
    pl.concat(parts).write_parquet(folder / "speeches.parquet")
    meter.tell(rows, answers=written)


def answer(i: int) -> str:
    stance = STANCES[i % len(STANCES)]
    return ANSWER.replace("motorways", f"motorways ({i})").replace('"for"', f'"{stance}"')


if __name__ == "__main__":
    main()
