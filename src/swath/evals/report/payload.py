"""A comparison as the page's data: JSON of plain values, the most telling rows first."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

from swath import __version__
from swath.evals.report.figures import figures
from swath.evals.report.outcomes import Outcome, outcomes

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison

LONGEST = 20_000  # characters of one text in the page; a document may have millions
OTHER = 500  # of a column that no model read


def payload(comparison: Comparison) -> dict[str, Any]:
    """Everything the page shows. Its keys are what page's scripts call `data`."""
    found = outcomes(comparison)
    pairs = list(dict.fromkeys((each.a, each.b) for each in found))
    pairs = pairs or list(combinations(comparison.models, 2))
    verdicts, calibration = comparison.verdicts, comparison.calibration
    return {
        "version": __version__,
        "id": comparison.id,
        "at": f"{datetime.fromtimestamp(comparison.at, UTC):%Y-%m-%d %H:%M} UTC",
        "column": comparison.column,
        "instructions": cut(comparison.instructions, LONGEST),
        "models": list(comparison.models),
        "pairs": [list(pair) for pair in pairs],
        "settings": _settings(comparison.settings),
        "notes": list(comparison.notes),
        "judge_cost": comparison.judge_cost_usd,
        "decisions": _finite([asdict(each) for each in comparison.decisions]),
        "trust": _finite(comparison.trust and asdict(comparison.trust)),
        "judges": _finite([asdict(each) for each in comparison.judges]),
        "calibration": _finite([] if calibration is None else calibration.to_dicts()),
        "by_model": _finite(comparison.by_model.to_dicts()),
        "figures": _finite(figures(comparison, found)),
        "items": bool(found),
        "verdicts": verdicts is not None and len(verdicts) > 0,
        "labels": comparison.human is not None and len(comparison.human) > 0,
        "fields": _fields(comparison),
        "rows": _rows(comparison, found, pairs),
    }


def _finite(value: Any) -> Any:
    """`value` with None for the figures that are no number: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    plain = ((name, plain_value(value, OTHER)) for name, value in settings.items())
    return [(name, str(value)) for name, value in plain if value not in (None, "", [], {})]


def _fields(comparison: Comparison) -> list[str]:
    """The fields of a struct column, in order; none for others."""
    names: dict[str, None] = {}
    for column in comparison.columns.values():
        names.update(
            dict.fromkeys(f.name for f in getattr(comparison.table.schema[column], "fields", ()))
        )
    return list(names)


def _rows(
    comparison: Comparison, found: Sequence[Outcome], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    failed: dict[tuple[int, str], str] = {}
    for error in comparison.errors.to_dicts():
        failed[error["row"], error["model"]] = error["reason"] or error["kind"] or "failed"
    items, scores = defaultdict(list), defaultdict(list)
    for each in found:
        items[each.row].append(each)
    for score in () if comparison.scores is None else comparison.scores.to_dicts():
        scores[score["row"]].append(score)
    fields = _fields(comparison)
    answers = set(comparison.columns.values())
    others = [
        c for c in comparison.table.columns if c not in answers and c not in comparison.inputs
    ]
    lost = {each for decision in comparison.decisions for each in _lost(decision)}
    place = {pair: number for number, pair in enumerate(pairs)}
    turn = _drawn(comparison)
    asked = _asked(comparison)
    rows = []
    for at, cells in enumerate(comparison.table.to_dicts()):
        values = [plain_value(cells[comparison.columns[m]], LONGEST) for m in comparison.models]
        errors = [failed.get((at, model)) for model in comparison.models]
        row = {
            "i": at,
            "input": {name: plain_value(cells[c], LONGEST) for name, c in asked.items()},
            "other": {name: plain_value(cells[name], OTHER) for name in others},
            "answers": values,
            "errors": errors,
            "differs": differing(values, fields),
            "items": [_item(each, place, turn) for each in items[at]],
            "scores": [_score(each) for each in scores[at]],
        }
        row["telling"] = telling(row, items[at], lost, len(fields) or 1)
        rows.append(row)
    return sorted(rows, key=lambda row: -row["telling"])


def _asked(comparison: Comparison) -> dict[str, str]:
    """What a person needs to judge an answer: a name to show → its column."""
    shown = {name: name for name in comparison.inputs}
    reference = comparison.settings.get("reference")
    if reference in comparison.table.columns and reference not in shown:
        shown[f"{reference} (the reference)"] = reference
    return shown


def _drawn(comparison: Comparison) -> dict[str, int]:
    """Each item's place in the random sample that people label: the same as `swath label` draws."""
    if comparison.items is None:
        return {}
    from swath.evals.labelling import draw

    ids = draw(comparison.items, max(comparison.items.height, 1))["item_id"]
    return {item: place for place, item in enumerate(ids)}


def _lost(decision: Any) -> tuple[tuple[str, str, str], ...]:
    """(model_a, model_b, verdict) of the items that go against a decision."""
    if decision.winner is None:
        return ()
    a, b = decision.a, decision.b
    verdict, other = ("A", "B") if decision.winner == b else ("B", "A")
    return (a, b, verdict), (b, a, other)


def telling(row: Mapping[str, Any], items: Iterable[Outcome], lost: set[Any], fields: int) -> float:
    """How much a row has to tell: people against the judge, the judge against itself, a model
    that failed where another did not, a row that goes against the decision, then how many fields
    differ. Rows with equal answers come last."""
    items = list(items)
    failures = sum(error is not None for error in row["errors"])
    return (
        4.0 * any(each.against_labels for each in items)
        + 3.0 * any(each.split for each in items)
        + 2.0 * (0 < failures < len(row["errors"]))
        + 1.0 * (failures > 0)
        + 2.0 * any((each.a, each.b, each.verdict) in lost for each in items)
        + len(row["differs"]) / fields
    )


def differing(values: Sequence[Any], fields: Sequence[str]) -> list[str]:
    """The fields in which answers differ; [""] where whole answers do. A missing answer is no
    opinion."""
    given = [value for value in values if value is not None]
    if not fields:
        return [""] if any(value != given[0] for value in given) else []
    return [f for f in fields if any(v.get(f) != given[0].get(f) for v in given)]


def _item(
    each: Outcome, place: Mapping[tuple[str, str], int], turn: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "id": each.id,
        "turn": turn[each.id],
        "pair": place[each.a, each.b],
        "a": each.a,
        "b": each.b,
        "outcome": each.verdict,
        "split": each.split,
        "against_labels": each.against_labels,
        "verdicts": [
            {"judge": v["judge"], "order": v["order"], "verdict": v["verdict"]}
            | {"why": cut(v["justification"] or "", LONGEST)}
            for v in each.verdicts
        ],
        "labels": [{"by": v["annotator"], "label": v["label"]} for v in each.labels],
    }


def _score(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "judge": each["judge"],
        "model": each["model"],
        "criterion": each["criterion"] or "score",
        "score": each["score"],
        "why": cut(each["justification"] or "", LONGEST),
    }


def plain_value(value: Any, longest: int) -> Any:
    """`value` as JSON can hold it, long texts cut."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return cut(value, longest)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain_value(each, longest) for name, each in value.items()}
    if isinstance(value, Iterable):
        return [plain_value(each, longest) for each in value]
    return str(value)


def cut(text: str, longest: int) -> str:
    """`text`, or its beginning and how much of it is left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest:,} more characters in the table)"
