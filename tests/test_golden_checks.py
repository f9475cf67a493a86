"""The checks of golden sets, one by one."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swath.evals.golden.asked import KINDS, read_check
from swath.evals.golden.checks import Case, Check
from swath.evals.golden.toml import GoldenError, Source, Table
from swath.evals.golden.values import as_items, same


def check(**values: Any) -> Check:
    table = Table(Source("test"), (), values)
    (made,) = read_check(table, Path(), ["label", "text"], "label")
    return made


def judged(made: Check, answer: Any, label: Any = None) -> tuple[float | None, str]:
    score = made.one(Case({"label": label, "text": "t"}, answer))
    return score.value, score.reason


# -- checks


@pytest.mark.parametrize(
    ("answer", "label", "equal"),
    [
        ("card", "card", True),
        ("card", " card ", True),
        ("Card", "card", False),
        (True, "yes", True),
        (True, "false", False),
        (False, 0, True),
        (3, "3.0", True),
        (3.5, 3.5, True),
        (3, "three", False),
        (date(2024, 1, 2), "2024-01-02", True),
        (["a", "b"], '["a","b"]', True),
        (["a", "b"], ["b", "a"], False),
        ({"x": 1, "y": None}, '{"y":null,"x":1}', True),
        (None, None, True),
        (None, "x", False),
        ("x", None, False),
    ],
)
def test_exact(answer: Any, label: Any, equal: bool) -> None:
    assert same(answer, label) is equal


def test_exact_says_what_it_got() -> None:
    assert judged(check(kind="exact"), "loan", "card") == (0.0, "got loan, expected card")
    assert judged(check(kind="exact", ignore_case=True), "CARD", "card") == (1.0, "")
    assert judged(check(kind="exact"), "loan", None) == (None, "the row has no label")


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")))
def test_set_f1_is_the_harmonic_mean_of_precision_and_recall(
    got: list[str], want: list[str]
) -> None:
    value, reason = judged(check(kind="set_f1"), got, want)
    a, b = set(got), set(want)
    if not a and not b:
        assert value == 1.0
    elif not a & b:
        assert value == 0.0
    else:
        precision, recall = len(a & b) / len(a), len(a & b) / len(b)
        assert value == pytest.approx(2 * precision * recall / (precision + recall))
    assert (value == 1.0) == (not reason)


def test_set_f1_reads_lists_as_files_have_them() -> None:
    assert as_items("a, b,,c", ",", False) == {"a", "b", "c"}
    assert as_items('["a","B"]', ",", True) == {"a", "b"}
    assert as_items([{"x": 1}], ",", False) == {'{"x":1}'}
    value, reason = judged(check(kind="set_f1", separator=";"), ["a", "x"], "a;b;c")
    assert value == pytest.approx(0.4)
    assert reason == "missed b, c; too many: x"


def test_the_other_kinds() -> None:
    assert judged(check(kind="regex", pattern="^[a-z]+$"), "abc")[0] == 1
    assert judged(check(kind="regex", pattern="b"), "abc")[0] == 1
    assert judged(check(kind="regex", pattern="b", full=True), "abc")[0] == 0
    assert judged(check(kind="numeric", abs=0.5), 3.4, "3.0")[0] == 1
    assert judged(check(kind="numeric", rel=0.1), 109.9, 100)[0] == 1
    assert judged(check(kind="numeric", rel=0.1), 111, 100) == (0.0, "got 111, expected 100")
    assert judged(check(kind="numeric", abs=1), "none", 3)[0] == 0
    assert judged(check(kind="contains"), "The Card is lost", "card")[0] == 1
    assert judged(check(kind="contains", all=["a", "z"]), "abc", None)[1] == "does not contain z"
    assert judged(check(kind="contains", any=["x", "b"]), "abc", None)[0] == 1
    assert judged(check(kind="contains", none=["sorry"]), "I am Sorry", None)[0] == 0
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}}
    assert judged(check(kind="json_schema", schema=schema), {"n": 2})[0] == 1
    assert judged(check(kind="json_schema", schema=schema), '{"n": 5}')[1].startswith("n: 5")


def test_a_function_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def polite(answer, row):\n    return 'please' in answer\n"
        "def graded(answer, row):\n    return 0.25, f\"only {row['text']}\"\n"
        "def broken(answer, row):\n    return answer['x']\n"
        "def asserts(answer, row):\n    assert answer == 'x', 'not x'\n    return 1\n"
    )

    def made(name: str) -> Check:
        table = Table(Source("test"), (), {"kind": "python", "function": name})
        return read_check(table, tmp_path, ["label"], "label")[0]

    assert judged(made("mine.py:polite"), "please do")[0] == 1
    assert judged(made("mine:polite"), "do")[0] == 0
    assert judged(made("mine.py:graded"), "do") == (0.25, "only t")
    assert judged(made("mine.py:broken"), "do")[1].startswith("the check raised TypeError")
    assert judged(made("mine.py:asserts"), "do") == (0.0, "not x")
    with pytest.raises(GoldenError, match=r"has no 'polit'.*Did you mean 'polite'"):
        made("mine.py:polit")
    with pytest.raises(GoldenError, match=r"no 'other.py'"):
        made("other.py:polite")


def test_all_kinds_are_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "golden.md").read_text("utf-8")
    for kind in KINDS:
        assert f"`{kind}`" in text
