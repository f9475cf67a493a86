"""Two local models compared on real speeches, and judged by a local one."""

from __future__ import annotations

from importlib.util import find_spec

import polars as pl
import pytest

import swath as sw
from swath import demo
from swath.errors import WeightsError
from swath.local import weights

pytestmark = pytest.mark.local
if find_spec("xllamacpp") is None:
    pytest.skip("the extra 'local' is not installed", allow_module_level=True)


def test_two_local_models_and_a_local_judge() -> None:
    for name in ("smollm2-135m", weights.DEFAULT_CHAT):
        try:
            weights.pull(name)
        except WeightsError as error:
            pytest.skip(f"{name} is not to be had here: {error}")
    local = {"provider": "local", "options": {"slots": 2, "context": 2048}}
    models = {
        "small": local | {"model": "smollm2-135m"},
        "usual": local | {"model": weights.DEFAULT_CHAT},
    }
    with sw.Session({"models": models, "store": "memory://"}):
        made = sw.compare(
            demo.speeches(6).with_columns(pl.col("speech").str.head(600)),
            sw.classify("speech", ["economy", "migration", "climate", "other"]),
            ["small", "usual"],
            judge=sw.Judge("usual", reason=False),
            progress=False,
        )
    assert made.table.height == 6
    assert made.errors.is_empty()
    assert made.by_model["ok"].to_list() == [6, 6]
    assert made.by_model["schema_valid"].to_list() == [1.0, 1.0]  # the grammar sees to it
    assert made.verdicts is not None
    assert made.verdicts.height == 12
    assert made.verdicts["verdict"].null_count() == 0
    assert made.trust is not None
    assert made.trust.contestant
    assert made.decisions[0].n == 6
