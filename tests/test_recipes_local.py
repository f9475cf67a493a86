"""Every recipe over real speeches on the local model: types, grounding, failures that stay apart.

Eight in the ordinary run, the rest with `make test-slow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import polars as pl
import pytest

import swath as sw
from swath.engine.quotes import ground, quote_paths
from swath.errors import WeightsError
from swath.local import weights
from tests import recipes_page

pytestmark = pytest.mark.local
if find_spec("xllamacpp") is None:
    pytest.skip("the extra 'local' is not installed", allow_module_level=True)

CORE = {
    "arguments",
    "claims",
    "consensus",
    "cross_references",
    "emotion",
    "entities",
    "sentiment",
    "stance",
}


def _marked(over: tuple[str, ...]) -> list[Any]:
    names = [name for kind in over for name in sw.recipes.names(kind)]
    return [pytest.param(n, marks=() if n in CORE else pytest.mark.slow) for n in names]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sw.Session]:
    for name in (recipes_page.MODEL, "minilm-l6"):
        try:
            weights.pull(name)
        except WeightsError as error:
            pytest.skip(f"{name} is not to be had here: {error}")
    with recipes_page.session(f"sqlite:///{tmp_path_factory.mktemp('store')}/s.db") as opened:
        yield opened


@pytest.mark.parametrize("name", _marked(("row", "group")))
def test_types_and_grounding(name: str, local: sw.Session) -> None:
    table, frame = recipes_page.asked(name, most=1)
    run = frame.run(session=local, progress=False)
    assert run.errors.is_empty(), run.errors["reason"].to_list()
    assert run.table.schema == frame.schema
    (answer,) = run.table["x"].to_list()
    recipe: Any = sw.recipes.get(name)
    if getattr(recipe, "labels", None):
        assert answer in recipe.labels
        return
    assert answer is not None
    schema = recipe("text", **recipe.sample).ask("", "m").schema
    if schema is None:  # plain text
        assert answer.strip()
        return
    told = "{speaker}: {text}" if recipe.over == "group" else "{text}"  # as recipes_page asks
    source = "\n".join(told.format(**row) for row in table.to_dicts())
    said = {"items": answer} if isinstance(answer, list) else answer
    assert ground(said, quote_paths(schema.json), source) == (said, [])
    if isinstance(answer, list) and getattr(recipe, "least", 1):
        assert answer


@pytest.mark.parametrize("name", _marked(("corpus",)))
def test_a_corpus(name: str, local: sw.Session) -> None:
    table, frame = recipes_page.asked(name)
    run = frame.run(session=local, progress=False)
    assert run.errors.is_empty(), run.errors["reason"].to_list()
    made = run.table
    assert made.schema == frame.schema
    ids = set(table["id"])
    for column in ("id", "id_right", "thread"):
        if column in made.columns:
            assert set(made[column]) <= ids
    texts = dict(table.select("id", "text").rows())
    for quote, id in (("quote", "id"), ("quote_right", "id_right")):
        if {quote, id} <= set(made.columns):
            assert all(said in texts[i] for said, i in made.select(quote, id).rows())
    if name == "evolution_over_time":
        told = [f"{date}: {text}" for date, text in table.select("date", "text").rows()]
        assert all(any(quote in item for item in told) for quote in made["quote"])
    if name == "reply_threads":
        assert made["id"].to_list() == table["id"].to_list()
    if name == "taxonomy":
        assert made["rows"].sum() == table.height


def test_a_text_that_is_too_long_fails_alone(local: sw.Session) -> None:
    short = recipes_page.excerpt(recipes_page.DRUGS)
    frame = sw.frame({"text": [short, f"{short} " * 200, None]})
    run = frame.with_columns(x=sw.recipes.sentiment("text")).run(session=local, progress=False)
    assert run.table["x"].is_null().to_list() == [False, True, True]
    assert run.errors.select("row", "kind").rows() == [(1, "context")]
    assert run.table["x"].dtype == pl.String
