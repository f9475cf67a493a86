"""Made-up comparisons of the shapes a real one has, and a browser to read their reports in."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from swath.evals import comparison as shapes
from swath.evals.comparison import Comparison
from swath.evals.concluding import concluded

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SPEECHES = Path(__file__).parent.parent / "src/swath/demo/speeches.jsonl"
STANCES = ("for", "against", "unclear")
CLAIMS = (
    "Animals that are exported must be kept by the rules of the Union.",
    "The budget must grow with the tasks that Parliament gives it.",
    "Citizenship cannot be made from above.",
    "A common market needs common rules for its workers.",
    "The Commission must publish what it spends.",
)
WHY = (
    "names the claim that the speech ends with; the other repeats its opening courtesy.",
    "gives the speaker's own words, and both reasons; the other has one of them.",
    "is shorter and still holds every argument.",
    "takes an example for the main claim.",
)


def answer(dice: random.Random, kind: str, skill: float) -> Any:
    """A cell: a struct of a claim, a stance, reasons and a number; or a text, or a label."""
    claim = CLAIMS[0] if dice.random() < skill else dice.choice(CLAIMS)
    if kind == "text":
        basis = dice.choice(["cost", "principle", "law"])
        return f"The speaker says: {claim[0].lower()}{claim[1:]} That is argued from {basis}."
    stance = STANCES[0] if dice.random() < skill else dice.choice(STANCES)
    if kind == "label":
        return stance
    reasons = dice.sample(CLAIMS, 1 if dice.random() < skill else 2)
    strength = 3 if dice.random() < skill else dice.randint(1, 5)
    return {"claim": claim, "stance": stance, "reasons": reasons, "strength": strength}


def comparison(
    rows: int = 50,
    models: tuple[str, ...] = ("small", "medium", "large"),
    *,
    kind: str = "struct",
    judge: bool = True,
    human: bool = True,
    scores: bool = True,
    texts: list[str] | None = None,
    free: bool = False,
) -> Comparison:
    """`rows` speeches (or `texts`) answered by `models`, later ones better and dearer; every tenth
    answer of the first model failed."""
    dice = random.Random(7)
    speeches = [json.loads(line) for line in SPEECHES.read_text(encoding="utf-8").splitlines()]
    given = [speeches[i % len(speeches)] for i in range(rows)]
    table = pl.DataFrame(
        {
            "speech": texts or [each["speech"] for each in given],
            "speaker": [each["speaker"] for each in given],
            "date": [each["date"] for each in given],
        }
    )
    columns = {model: f"argument_{model}" for model in models}
    errors = []
    for place, model in enumerate(models):
        cells = [answer(dice, kind, 0.5 + 0.4 * place / len(models)) for _ in range(rows)]
        for row in range(9, rows, 10) if place == 0 else ():
            cells[row] = None
            reason = "not valid JSON after a repair"
            errors.append((row, columns[model], model, "invalid", reason))
        table = table.with_columns(pl.Series(columns[model], cells))
    items = _items(table, columns, models)
    verdicts, labels = _judged(items, models, dice)
    grades = [
        (
            item["item_id"],
            item["row"],
            "judge",
            model,
            criterion,
            float(min(5, dice.randint(1, 4) + models.index(model) // 2)),
            WHY[0],
        )
        for item in items
        for model in (item["model_a"],)
        for criterion in ("faithful", "complete")
    ]
    made = Comparison(
        id="r-0f3a9c",
        name="",
        at=1_795_530_000.0,
        column="argument",
        operator="extract",
        instructions="Extract the speaker's main argument: the claim, the stance, and the reasons.",
        models=models,
        inputs=("speech",),
        table=table,
        columns=columns,
        by_model=_by_model(models, rows, free),
        agreement=_agreement(models, kind, rows),
        errors=pl.DataFrame(errors, schema=shapes.ERRORS, orient="row"),
        items=pl.DataFrame(items, schema=shapes.ITEMS) if judge or scores else None,
        verdicts=pl.DataFrame(verdicts, schema=shapes.VERDICTS) if judge else None,
        scores=pl.DataFrame(grades, schema=shapes.SCORES, orient="row") if scores else None,
        human=pl.DataFrame(labels, schema=shapes.HUMAN, orient="row") if human else None,
        judge_cost_usd=0.031 if judge else 0.0,
        settings={"seed": 7, "n": rows, "judge": ["judge"] if judge else None},
    )
    return concluded(made)


@cache
def usual() -> Comparison:
    """50 rows, three models, structs, a judge, labels and scores."""
    return comparison()


def _items(
    table: pl.DataFrame, columns: dict[str, str], models: tuple[str, ...]
) -> list[dict[str, Any]]:
    items = []
    for row, cells in enumerate(table.to_dicts()):
        for a, b in combinations(models, 2):
            pair = [cells[columns[m]] for m in (a, b)]
            if None not in pair:
                texts = [each if isinstance(each, str) else json.dumps(each) for each in pair]
                items.append(
                    {
                        "item_id": f"i{row}-{a}-{b}",
                        "row": row,
                        "cluster": cells["speech"],
                        "instruction": "Extract.",
                        "input": "…",
                    }
                    | {"answer_a": texts[0], "answer_b": texts[1], "model_a": a, "model_b": b}
                )
    return items


def _judged(
    items: list[dict[str, Any]], models: tuple[str, ...], dice: random.Random
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    verdicts, labels = [], []
    for number, item in enumerate(items):
        apart = models.index(item["model_b"]) - models.index(item["model_a"])
        truth = "B" if dice.random() < 0.5 + 0.1 * apart else dice.choice(["A", "tie"])
        for order in ("AB", "BA"):
            said: str | None = truth if dice.random() < 0.85 else order[0]
            if dice.random() < 0.02:
                said = None
            place = None if said in (None, "tie") else 1 + (said != order[0])
            best = item["model_a"] if said == "A" else item["model_b"]
            why = (
                "Both hold the same claim and reasons."
                if said == "tie"
                else f"The answer of {best} {dice.choice(WHY)}"
            )
            verdicts.append(
                {"item_id": item["item_id"], "judge": "judge", "order": order, "verdict": said}
                | {"picked_position": place, "model_a": item["model_a"], "model_b": item["model_b"]}
                | {"justification": None if said is None else why}
            )
        if number % 4 == 0:
            for annotator in ("ann", "ben"):
                label = truth if dice.random() < 0.8 else dice.choice(["A", "B", "tie"])
                labels.append((item["item_id"], annotator, label))
    return verdicts, labels


def _by_model(models: tuple[str, ...], rows: int, free: bool) -> pl.DataFrame:
    lines = []
    for place, model in enumerate(models):
        failed = len(range(9, rows, 10)) if place == 0 else 0
        cost = 0.0 if free else 0.00021 * 4**place
        lines.append(
            {
                "model": model,
                "rows": rows,
                "ok": rows - failed,
                "failed": failed,
                "calls": rows + failed,
            }
            | {"cached": rows // 5, "cost_usd": cost * rows, "cost_per_row_usd": cost}
            | {"latency_p50_ms": 420.0 + 510 * place, "latency_p95_ms": 900.0 + 1400 * place}
            | {
                "ttft_p50_ms": 180.0 + 90 * place,
                "input_tokens": 412 * rows,
                "output_tokens": 88 * rows,
            }
            | {"schema_valid": 0.9 + 0.05 * min(place, 2)}
        )
    return pl.DataFrame(lines, schema=shapes.BY_MODEL)


def _agreement(models: tuple[str, ...], kind: str, rows: int) -> pl.DataFrame:
    fields = ("", "claim", "stance", "reasons", "strength") if kind == "struct" else ("",)
    measures = {"stance": "cohen_kappa", "reasons": "set_f1", "claim": "token_overlap"}
    lines: list[tuple[Any, ...]] = [
        (a, b, field, measures.get(field, "exact"), 0.2 + 0.11 * at + 0.05 * models.index(b), rows)
        for a, b in combinations(models, 2)
        for at, field in enumerate(fields)
    ]
    if len(models) > 2 and kind == "struct":
        lines.append((None, None, "stance", "fleiss_kappa", 0.44, rows))
    return pl.DataFrame(lines, schema=shapes.AGREEMENT, orient="row")


FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def chromium() -> str | None:
    """Where a Chromium is, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium with a profile of its own, which is thrown away."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def reading(opened: Browser, path: Path, width: int = 1280, **settings: Any) -> Iterator[Page]:
    """The report at `path` in a window `width` wide. Anything it asks for or complains about
    fails the test at the end."""
    fragment = settings.pop("fragment", "")
    context = opened.new_context(viewport={"width": width, "height": 844}, **settings)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri() + fragment)
    try:
        yield page
        others = [u for u in asked if not u.startswith((path.as_uri(), "blob:"))]
        assert others == []
        assert said == []
        assert "[object" not in page.inner_text("body")
        assert "undefined" not in page.inner_text("body")
    finally:
        context.close()
