"""The report in a real browser: it opens from a file, asks nothing of anybody, and works."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from swath.evals import labelling
from swath.evals.report import write
from tests import report_kit as kit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE, NARROW = 1280, 390


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with kit.browser() as found:
        yield found


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, structs, a judge in both orders, labels and scores; 50 rows."""
    return write(kit.usual(), tmp_path_factory.mktemp("report") / "three.html")


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def overflows_nowhere(page: Page) -> bool:
    """Whether the page is as wide as its window, wide and narrow; it ends wide."""
    found = []
    for width in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 844})
        found.append(overflow(page))
    return max(found) <= 0


def rows_shown(page: Page) -> int:
    return page.locator("#list [data-row]").count()


def label(page: Page, name: str = "ann", count: int = 6) -> None:
    """Into blind labelling, as `name`."""
    page.click("#start-labels")
    page.fill("#labelling input[type=text]", name)
    page.fill("#labelling input[type=number]", str(count))
    page.click("#labelling button[type=submit]")


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_says_who_won_and_whether_to_believe_it(
    opened: Browser, three: Path, width: int, scheme: str
) -> None:
    made = kit.usual()
    with kit.reading(opened, three, width, color_scheme=scheme) as page:
        assert overflow(page) <= 0
        said = page.locator("#decisions, #more").all_inner_texts()
        for decision in made.decisions:
            assert any(decision.sentence in text for text in said)
        trust = page.locator("#trust")
        assert "may be used here" in trust.inner_text()
        assert "Your labellers agree with each other" in trust.inner_text()
        # On the same screen as the first decision.
        assert trust.bounding_box()["y"] < 844  # type: ignore[index]
        titles = page.locator("#charts h3").all_inner_texts()
        assert titles == [
            "Quality against cost",
            "Win matrix",
            "Verdicts, pair by pair",
            "Latency",
            "Scores",
            "Agreement between models",
        ]
        assert page.locator("#charts svg circle").count() == 3
        assert page.locator("#models tbody tr").count() == 3
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(background.split("(")[1].split(",")[0])
        assert (red < 60) == (scheme == "dark")


def test_filters_search_and_the_address(opened: Browser, three: Path) -> None:
    with kit.reading(opened, three) as page:
        assert rows_shown(page) == 50
        page.check("[data-flag=failed]")
        assert rows_shown(page) == 5
        assert "5 of 50 rows" in page.inner_text("#count")
        assert "Failed: not valid JSON after a repair" in page.inner_text("#detail")
        assert "only=failed" in page.url
        page.click("#clear")
        assert rows_shown(page) == 50
        page.select_option("[data-filter=verdict]", "tie")
        page.select_option("[data-filter=pair]", "1")
        ties = sum(d.ties for d in kit.usual().decisions if (d.a, d.b) == ("small", "large"))
        assert rows_shown(page) == ties
        page.select_option("[data-filter=pair]", "")
        page.select_option("[data-filter=verdict]", "")
        page.fill("[data-filter=find]", "MAHATMA gandhi")
        page.wait_for_selector("#count:has-text(' of 50 rows')")
        assert page.locator("#detail mark.find").first.inner_text() == "Mahatma Gandhi"
        page.fill("[data-filter=find]", "no such words")
        page.wait_for_selector("#list .empty")


def test_the_most_telling_rows_come_first(opened: Browser, three: Path) -> None:
    with kit.reading(opened, three) as page:
        assert "judge against labels" in page.inner_text("#list li:first-child")
        page.select_option("[data-filter=sort]", "order")
        assert page.get_attribute("#list li:first-child button", "data-row") == "0"


def test_keys_and_deep_links(opened: Browser, three: Path) -> None:
    with kit.reading(opened, three, fragment="#row=37") as page:
        assert page.inner_text("#detail h3").startswith("Row 37")
        assert page.get_attribute("#list [aria-current=true]", "data-row") == "37"
        page.keyboard.press("j")
        after = page.inner_text("#detail h3")
        assert not after.startswith("Row 37")
        page.keyboard.press("k")
        assert page.inner_text("#detail h3").startswith("Row 37")
        assert "row=37" in page.url
        page.keyboard.press("/")
        page.keyboard.type("jj")
        assert page.input_value("[data-filter=find]") == "jj"


def test_a_narrow_page_turns_to_the_row_and_back(opened: Browser, three: Path) -> None:
    with kit.reading(opened, three, NARROW) as page:
        assert not page.is_visible("#detail")
        page.locator("#list [data-row]").nth(2).click()
        assert page.is_visible("#detail")
        assert not page.is_visible("#list")
        assert overflow(page) <= 0
        page.click("text=‹ All rows")
        assert page.is_visible("#list")


def test_blind_labelling_gives_a_csv_that_the_comparison_takes(
    opened: Browser, three: Path, tmp_path: Path
) -> None:
    made = kit.usual()
    assert made.items is not None
    sample = labelling.draw(made.items, 6)
    asked = sample.filter(pl.col("answer_a") != pl.col("answer_b"))
    with kit.reading(opened, three) as page:
        label(page)
        shown = (
            page.inner_text("#labelling")
            + page.content().split('id="labelling"')[1].split("<footer")[0]
        )
        assert not any(f">{model}<" in shown for model in made.models)
        assert not page.is_visible("#report")
        sides = []
        for item in asked.iter_rows(named=True):
            first = page.inner_text(".blind > div:first-child")
            claim = json.loads(item["answer_a"])
            sides.append(all(str(claim[name]) in first for name in ("claim", "stance", "strength")))
            page.keyboard.press("1")
        page.keyboard.press("u")
        page.keyboard.press("1")
        with page.expect_download() as saved:
            page.click("#save-labels")
        assert saved.value.suggested_filename == "human.csv"
        saved.value.save_as(tmp_path / "human.csv")
    rows = list(csv.DictReader((tmp_path / "human.csv").open()))
    assert list(rows[0]) == ["item_id", "annotator", "label"]
    assert [row["item_id"] for row in rows] == sample["item_id"].to_list()
    assert {row["annotator"] for row in rows} == {"ann"}
    told = {row["item_id"]: row["label"] for row in rows}
    # "1" is the answer that stood first, in the items' own frame.
    for item, side in zip(asked["item_id"], sides, strict=True):
        assert told[item] == ("A" if side else "B")
    again = replace(made, human=None).with_human(tmp_path / "human.csv")
    assert again.human is not None
    assert again.human.height == 6


def test_labels_survive_a_reload(opened: Browser, three: Path) -> None:
    with kit.reading(opened, three) as page:
        label(page, "ben")
        page.keyboard.press("t")
        place = page.inner_text("#labelling h3")
        page.reload()
        label(page, "ben")
        assert page.inner_text("#labelling h3") == place
        page.click("text=Back to the report")
        assert page.is_visible("#report")


EVIL = [
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<!--<script>document.title='owned'</script>",
    '{data} {script} \u2028 " onload="document.title=\'owned\'" &lt;b&gt;',
    "مرحبا بالعالم 👩‍👩‍👧 שלום \u202eabc",
    "x" * 30_000,
]


def test_text_from_the_data_stays_text(opened: Browser, tmp_path: Path) -> None:
    made = kit.comparison(5, ("a", "<b>bold</b>"), kind="text", texts=EVIL)
    table = made.table.with_columns(pl.Series(made.columns["a"], EVIL))
    sentence = made.decisions[0].sentence + EVIL[0]
    made = replace(
        made,
        name=EVIL[0],
        instructions=EVIL[1],
        table=table,
        notes=(EVIL[0],),
        decisions=(replace(made.decisions[0], sentence=sentence),),
    )
    path = write(made, tmp_path / "evil.html")
    with kit.reading(opened, path) as page:
        assert page.title() == EVIL[0]
        assert EVIL[0] in page.inner_text("#decisions")
        for row, text in enumerate(EVIL):
            page.evaluate("row => { location.hash = `#row=${row}`; }", row)
            page.wait_for_selector(f"#detail h3:has-text('Row {row}')")
            shown = page.locator("#detail .given .text").evaluate("node => node.textContent")
            assert shown[:1000] == text[:1000]
            assert overflows_nowhere(page)
        assert "10,000 more characters in the table" in shown
        assert page.locator("img, b b, #detail script").count() == 0
        assert page.title() != "owned"


@pytest.mark.parametrize(
    "settings",
    [
        {"judge": False, "scores": False, "human": False, "kind": "label", "free": True},
        {"judge": False, "human": False, "kind": "text"},
        {"scores": False, "human": False, "kind": "text"},
        {"models": ("a", "b", "c", "d", "a-model-with/a-name:that-does-not-end-soon"), "rows": 12},
        {"rows": 1, "models": ("a", "b")},
    ],
    ids=["no judge", "scores alone", "no labels", "five models", "one row"],
)
def test_whatever_there_is_is_shown(
    opened: Browser, tmp_path: Path, settings: dict[str, object]
) -> None:
    made = kit.comparison(**{"rows": 20, "models": ("small", "large")} | settings)  # type: ignore[arg-type]
    path = write(made, tmp_path / "some.html")
    with kit.reading(opened, path) as page:
        assert overflows_nowhere(page)
        assert rows_shown(page) == len(made.table)
        assert page.locator("#start-labels").count() == (made.items is not None)
        if made.decisions:
            assert made.decisions[0].sentence in page.inner_text(".verdict")
        else:
            assert "The answers differ in" in page.inner_text("#decisions")
            assert "No judge" in page.inner_text("#trust")
        page.locator("#list [data-row]").first.click()
        assert overflows_nowhere(page)


def test_a_jury_that_may_not_be_used_is_said_so_over_the_decision(
    opened: Browser, tmp_path: Path
) -> None:
    made = kit.comparison(12, ("a", "b"), human=False)
    assert made.trust is not None
    trust = replace(made.trust, judge="jury", usable=False)
    judges = (replace(trust, judge="one"), replace(trust, judge="two"), trust)
    doubted = replace(made, trust=trust, judges=judges)
    with kit.reading(opened, write(doubted, tmp_path / "jury.html")) as page:
        assert page.inner_text("#decisions").startswith("By a judge that may not be used here")
        assert "jury may not be used here" in page.inner_text("#trust")
        assert page.locator("#trust details").count() == 2


def test_nulls_in_fields_and_whole_answers(opened: Browser, tmp_path: Path) -> None:
    made = kit.comparison(3, ("a", "b"), judge=False, scores=False, human=False)
    cells = [None, {"claim": None, "stance": "for", "reasons": [], "strength": None}, None]
    dtype = made.table.schema[made.columns["b"]]
    table = made.table.with_columns(pl.Series(made.columns["b"], cells, dtype=dtype))
    path = write(replace(made, table=table), tmp_path / "nulls.html")
    with kit.reading(opened, path, fragment="#row=0") as page:
        assert "no answer" in page.inner_text("#detail")
        page.evaluate("location.hash = '#row=1'")
        page.wait_for_selector("#detail :text('empty list')")
        assert "null" in page.inner_text("#detail")


def test_two_thousand_rows_are_quick(opened: Browser, tmp_path: Path) -> None:
    path = write(kit.comparison(2000, scores=False), tmp_path / "many.html")
    started = time.monotonic()
    with kit.reading(opened, path) as page:
        page.wait_for_selector("#detail h3")
        assert time.monotonic() - started < 8
        assert rows_shown(page) == 200  # more as they are asked for
        started = time.monotonic()
        page.fill("[data-filter=find]", "gandhi")
        page.wait_for_selector("#count:has-text(' of ')")
        assert time.monotonic() - started < 4
        page.evaluate("location.hash = '#row=1999'")
        page.wait_for_selector("#detail h3:has-text('Row 1999')")


def test_it_prints_without_controls(opened: Browser, three: Path) -> None:
    with kit.reading(opened, three) as page:
        page.emulate_media(media="print")
        assert not page.is_visible(".filters")
        assert not page.is_visible("#start-labels")
        assert page.is_visible("#detail")
        assert page.is_visible("#charts svg")


def test_names_and_roles_are_there_for_those_who_hear_it(opened: Browser, three: Path) -> None:
    unnamed = """() => [...document.querySelectorAll(
        'button, select, input, [role=img], [role=region]')]
      .filter(n => !(n.getAttribute('aria-label') || n.innerText || n.closest('label')?.innerText))
      .map(n => n.outerHTML)"""
    with kit.reading(opened, three) as page:
        assert page.evaluate(unnamed) == []
        assert page.locator("main").count() == 1
        assert page.locator("th:not([scope])").count() == 0
        assert page.locator("html[lang]").count() == 1
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert min(page.evaluate(CONTRAST)) >= 4.5


CONTRAST = """() => {
  const css = getComputedStyle(document.documentElement);
  const light = (name) => {
    let hex = css.getPropertyValue(name).trim().slice(1);
    if (hex.length === 3) hex = [...hex].map((c) => c + c).join("");
    const [r, g, b] = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pairs = [];
  for (const text of ["--ink", "--soft", "--faint", "--accent", "--bad", "--warn", "--good"])
    for (const ground of ["--bg", "--card"]) {
      const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
      pairs.push((a + 0.05) / (b + 0.05));
    }
  return pairs;
}"""
