"""Files in and out: what is read, what is refused and how it says so, what is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import BaseModel

import swath as sw
from swath.frames import readers
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

TABLE = pl.DataFrame({"text": ["one", "two, three", "vier\nfünf"], "n": [1, 2, 3]})


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("t.csv", lambda t, p: t.write_csv(p), sw.read_csv),
        ("t.jsonl", lambda t, p: t.write_ndjson(p), sw.read_jsonl),
        ("t.json", lambda t, p: t.write_json(p), sw.read_json),
        ("t.parquet", lambda t, p: t.write_parquet(p), sw.read_parquet),
        ("t.arrow", lambda t, p: t.write_ipc(p), sw.read_ipc),
    ],
)
def test_files_are_read(tmp_path: Path, name: str, write: Any, read: Any) -> None:
    write(TABLE, tmp_path / name)
    frame = read(tmp_path / name)
    assert frame.columns == ["text", "n"]
    assert_frame_equal(frame.collect(), TABLE)
    assert name in repr(frame)


def test_readers_take_polars_options(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1;x\n")
    assert sw.read_csv(tmp_path / "t.csv", separator=";").columns == ["a", "b"]
    with pytest.raises(sw.InputError, match="nonsense"):
        sw.read_csv(tmp_path / "t.csv", nonsense=1)


def test_patterns_read_several_files(tmp_path: Path) -> None:
    for i in range(3):
        TABLE.write_csv(tmp_path / f"part{i}.csv")
    assert sw.read_csv(tmp_path / "part*.csv").collect().height == 9


def test_types_are_inferred_from_the_whole_of_a_small_file(tmp_path: Path) -> None:
    rows = [f"{i},x" for i in range(20_000)] + ["late text,y"]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(rows))
    assert sw.read_csv(tmp_path / "t.csv").schema["a"] == pl.String


def ragged(rows: int) -> str:
    return "a,b\n" + "1,2\n" * rows + "1,2,3\n" + "1,2\n" * 10


BAD_FILES: dict[str, tuple[Callable[[Path], Any], Any, str]] = {
    "missing": (lambda p: None, sw.read_csv, "There is no file .*other.csv"),
    "folder": (lambda p: p.mkdir(), sw.read_csv, "is a folder"),
    "empty csv": (lambda p: p.write_text(""), sw.read_csv, "is empty"),
    "empty parquet": (lambda p: p.write_text(""), sw.read_parquet, "is empty"),
    "ragged csv": (lambda p: p.write_text(ragged(5)), sw.read_csv, "line 7: 3 fields .* has 2"),
    "latin-1 csv": (
        lambda p: p.write_bytes("a,b\n1,x\n2,café\n".encode("latin1")),
        sw.read_csv,
        "line 3: not UTF-8 .*0xe9.* iconv",
    ),
    "broken jsonl": (lambda p: p.write_text('{"a": 1}\n{"a": \n'), sw.read_jsonl, "line 2: "),
    "array as jsonl": (lambda p: p.write_text('[{"a": 1}]'), sw.read_jsonl, "use read_json"),
    "scalar jsonl": (lambda p: p.write_text('{"a": 1}\n3\n'), sw.read_jsonl, "line 2: not a JSON"),
    "latin-1 jsonl": (
        lambda p: p.write_bytes('{"a": "é"}'.encode("latin1")),
        sw.read_jsonl,
        "line 1: not UTF-8",
    ),
    "broken json": (lambda p: p.write_text('[{"a": 1}, {'), sw.read_json, "truncated"),
    "jsonl as json": (
        lambda p: p.write_text('{"a": 1}\n{"a": 2}\n'),
        sw.read_json,
        "use read_jsonl",
    ),
    "text as parquet": (
        lambda p: p.write_text("not a parquet file at all"),
        sw.read_parquet,
        "cannot be read as Parquet",
    ),
    "parquet as arrow": (lambda p: TABLE.write_parquet(p), sw.read_ipc, "use read_parquet"),
    "arrow as parquet": (lambda p: TABLE.write_ipc(p), sw.read_parquet, "use read_ipc"),
    "cut parquet": (
        lambda p: (TABLE.write_parquet(p), p.write_bytes(p.read_bytes()[:-40])),
        sw.read_parquet,
        "cannot be read",
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files_are_refused_by_name_with_what_to_do(tmp_path: Path, what: str) -> None:
    make, read, says = BAD_FILES[what]
    TABLE.write_csv(tmp_path / "other.csv")
    file = tmp_path / "file.x"
    make(file)
    with pytest.raises(sw.InputError, match=says) as caught:
        read(file).collect()
    assert "file.x" in str(caught.value)
    assert caught.value.hint


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    file = tmp_path / "t.csv"
    TABLE.write_csv(file)
    file.chmod(0)
    with pytest.raises(sw.InputError, match="permission"):
        sw.read_csv(file)


@pytest.mark.parametrize("bad", ["1,2,3\n", "x\udcff,2\n", "no number,2\n"])
def test_a_bad_row_deep_in_a_file_is_found_and_named(
    tmp_path: Path, bad: str, open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models are asked about the rows before it; those answers are kept."""
    monkeypatch.setattr(readers, "INFER_ALL", 0)
    file = tmp_path / "big.csv"
    lines = ["n,m\n", *(f"{i},{i % 7}\n" for i in range(60_000)), bad, "1,2\n"]
    file.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.read_csv(file).filter(pl.col("m") == 0).with_columns(x=sw.map("{m}"))
        with pytest.raises(sw.InputError, match=r"big\.csv") as caught:
            frame.collect()
        said = str(caught.value)
        assert "line 60002" in said or "schema_overrides" in said
        assert "no number" not in said


class Triage(BaseModel):
    topic: str
    tags: list[str]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("out.parquet", pl.read_parquet),
        ("out.jsonl", pl.read_ndjson),
        ("out.json", pl.read_json),
        ("out.arrow", lambda p: pl.read_ipc(p)),
    ],
)
def test_results_are_written_typed(
    open_session: Open, tmp_path: Path, name: str, read: Any
) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(t=sw.extract("text", Triage))
        method = {"arrow": "ipc"}.get(name[4:], name[4:])
        run = getattr(frame, f"write_{method}")(tmp_path / name)
        assert_frame_equal(read(tmp_path / name), frame.collect())
        assert_frame_equal(run.table, frame.collect())
        assert run.metrics.rows == 3


def test_csv_gets_a_column_for_each_field_and_json_for_lists(
    open_session: Open, tmp_path: Path
) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="one")])) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(t=sw.extract("text", Triage))
        frame.write_csv(tmp_path / "out.csv")
        table = pl.read_csv(tmp_path / "out.csv")
        assert table.columns == ["text", "n", "t.topic", "t.tags"]
        whole = frame.run().table["t"].struct.unnest()
        assert table["t.topic"].to_list() == whole["topic"].to_list()
        assert table["t.tags"][0] is None
        assert json.loads(table["t.tags"][1]) == whole["tags"].to_list()[1]


def test_writers_take_polars_options(tmp_path: Path) -> None:
    sw.frame(TABLE).write_csv(tmp_path / "out.csv", separator=";")
    assert (tmp_path / "out.csv").read_text().startswith("text;n\n")


@pytest.mark.parametrize("where", ["nowhere/out.csv", "."])
def test_an_unwritable_place_is_refused_before_anything_is_spent(
    open_session: Open, tmp_path: Path, where: str
) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text}"))
        with pytest.raises(sw.OutputError) as caught:
            frame.write_csv(tmp_path / where)
        assert caught.value.hint
        assert server.stats.received == 0


def test_a_file_is_replaced_only_by_a_whole_one(open_session: Open, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    target.write_text("before")
    with serve(OpenAIServer()) as server:
        open_session(m=(server, {"concurrency": 1}))
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text}", max_tokens=100))
        with pytest.raises(sw.BudgetReached) as caught:
            frame.write_parquet(target, max_cost=0.0002)
        assert caught.value.run.table.height < 3
        assert target.read_text() == "before"
        assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.parquet"]
        frame.write_parquet(target)
        assert pl.read_parquet(target).height == 3
        assert server.stats.answered == 3


def test_a_full_disk_loses_nothing(open_session: Open) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    from swath.frames import writers

    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(TABLE).with_columns(x=sw.map("{text}"))

        def full(rows: Any, path: Path, **_: Any) -> None:
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writers, "csv", full)
            with pytest.raises(sw.OutputError, match="No space left"):
                frame.write_csv("out.csv")
        frame.write_csv("out.csv")
        assert server.stats.received == 3
