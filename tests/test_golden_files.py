"""Golden files that are wrong: each mistake is named with its key, its line, and what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from swath.evals.golden.read import read_suite
from swath.evals.golden.toml import GoldenError

HEAD = """\
data = "d.csv"
expected = "label"

[operator]
kind = "classify"
text = "text"
labels = ["a", "b"]

[[checks]]
kind = "exact"
"""


@pytest.fixture(autouse=True)
def _data(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\nx,a\ny,b\n")


def wrong(folder: Path, text: str) -> str:
    (folder / "golden.toml").write_text(text)
    with pytest.raises(GoldenError) as caught:
        read_suite(folder / "golden.toml")
    return str(caught.value)


def test_the_head_is_right(tmp_path: Path) -> None:
    (tmp_path / "golden.toml").write_text(HEAD)
    suite = read_suite(tmp_path / "golden.toml")
    assert (suite.name, suite.table.height, [c.name for c in suite.checks]) == (
        "golden",
        2,
        ["exact"],
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "exact"', 'kind = "exakt"', ["no check 'exakt'", "line 10", "'exact'", "set_f1"]),
        ('kind = "exact"', "", ["[[checks]] needs 'kind'", "line 9"]),
        ('kind = "exact"', 'kind = "exact"\nfuzzy = 1', ["no key 'fuzzy'", "line 11", "threshold"]),
        ('kind = "exact"', 'kind = "exact"\nthreshold = 90', ["between 0 and 1", "line 11"]),
        ('kind = "exact"', 'kind = "exact"\nthreshold = "x"', ["must be a number", "line 11"]),
        ('kind = "exact"', 'kind = "exact"\nexpected = "lable"', ["no column 'lable'", "label"]),
        ('kind = "exact"', 'kind = "exact"\nfield = "x"', ["field 'x'", "line 9"]),
        ('kind = "exact"', 'kind = "regex"\npattern = "("', ["no regular expression", "line 11"]),
        ('kind = "exact"', 'kind = "judge"', ["needs 'rubric'", "line 9"]),
        ('kind = "exact"', 'kind = "python"\nfunction = "x"', ["names nothing", "file.py:name"]),
        ('kind = "exact"', 'kind = "json_schema"\nschema = "no.json"', ["cannot be read"]),
        ('expected = "label"', "", ["needs 'expected'", "line 9"]),
        ('expected = "label"', 'expected = "lable"', ["no column 'lable'", "line 2", "'label'"]),
        ('data = "d.csv"', 'data = "e.csv"', ["no file", "e.csv", "line 1", "d.csv"]),
        ('data = "d.csv"', "", ["'data' or from [[cases]]"]),
        ('data = "d.csv"', "data = 5", ["must be a text, not a number", "line 1"]),
        ('kind = "classify"', 'kind = "clasify"', ["no operator 'clasify'", "line 5", "classify"]),
        ('text = "text"', 'text = "txet"', ["no column 'txet'", "line 6", "text"]),
        ('labels = ["a", "b"]', 'labels = ["a"]', ["two labels", "line 7"]),
        ('labels = ["a", "b"]', "", ["needs 'labels'", "line 4"]),
        ('kind = "classify"', 'kind = "classify"\ntemprature = 1', ["'temprature'", "line 6"]),
        ('text = "text"', 'text = "text"\nprompt = { nam = "x" }', ["no key 'nam'", "line 7"]),
        ('text = "text"', 'text = "text"\nprompt = { file = "p.txt" }', ["'p.txt' cannot be read"]),
        ("[[checks]]", "[[check]]", ["no key 'check'", "line 9", "'checks'"]),
        ('expected = "label"', 'expected = "label', ["not valid TOML", "line 2"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    message = wrong(tmp_path, HEAD.replace(old, new))
    for part in said:
        assert part in message, message


def test_a_prompt_that_names_no_column(tmp_path: Path) -> None:
    text = HEAD.replace('kind = "classify"', 'kind = "map"')
    text = text.replace('text = "text"', 'prompt = "Answer {txt}"').replace(
        'labels = ["a", "b"]\n', ""
    )
    message = wrong(tmp_path, text)
    for part in ("no column 'txt'", "line 6", "text"):
        assert part in message


def test_lines_are_found_past_long_texts(tmp_path: Path) -> None:
    text = HEAD.replace(
        'text = "text"', 'text = "text"\nprompt = """\nkind = "x"\n[operator]\n"""'
    ).replace('kind = "exact"', 'kind = "exact"\n\n[[checks]]\nkind = "nope"')
    assert "line 17 of golden.toml" in wrong(tmp_path, text)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="cannot be read: No such file"):
        read_suite(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(GoldenError, match="not UTF-8"):
        read_suite(tmp_path / "bytes.toml")


def test_checks_of_one_kind_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "golden.toml").write_text(
        HEAD + '\n[[checks]]\nkind = "exact"\n\n[[checks]]\nkind = "exact"\nname = "mine"\n'
    )
    names = [c.name for c in read_suite(tmp_path / "golden.toml").checks]
    assert names == ["exact", "exact 2", "mine"]
