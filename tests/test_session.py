"""Sessions: which is current, what closing leaves behind, what `import swath` costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import swath as sw
from swath.errors import InputError, UnknownModel
from swath.session import current
from tests.conftest import Open
from tests.servers import OpenAIServer, serve


def test_the_newest_session_is_the_current_one(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        outer = open_session(m=server)
        with sw.Session(outer.config.path or {"store": "memory://"}, check=False) as inner:
            assert current() is inner
        assert current() is outer
        assert sw.complete("hello").text


def test_a_closed_session_says_so(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        session.complete("hello")
        session.close()
        session.close()
        with pytest.raises(InputError, match="closed"):
            session.complete("hello")


def test_unknown_names_are_listed(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(fast=server)
        with pytest.raises(UnknownModel, match=r"fast.*local"):
            session.complete("hello", model="fasst")
        with pytest.raises(InputError, match="temperature"):
            session.complete("hello", temperatur=0.5)


def test_a_profile_overrides_and_is_another_model(open_session: Open) -> None:
    with serve(OpenAIServer(dialect="openrouter", keep_requests=True)) as server:
        profiles = {"cheap": {"sort": "price"}, "small": {"model": "meta/small"}}
        session = open_session(m=(server, {"profiles": profiles}))
        session.complete("hello", model="m:cheap")
        session.complete("hello", model="m:small")
        session.complete("hello")
        first, second, third = (r.body for r in server.stats.requests)
        assert first["provider"] == {"sort": "price"}
        assert second["model"] == "meta/small"
        assert "provider" not in third


@pytest.mark.parametrize("program", ["", "s.complete('hello', model='m')", "s.models['local']"])
def test_a_program_ends_quietly_with_a_session_open(program: str, tmp_path: Path) -> None:
    with serve(OpenAIServer()) as server:
        table = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": server.base_url}
        code = f"import swath; s = swath.Session({{'models': {{'m': {table}}}}}); {program}"
        ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_importing_swath_loads_nothing_heavy() -> None:
    code = (
        "import sys, swath; heavy = {'polars', 'numpy', 'pydantic', 'msgspec', 'asyncio', 'rich',"
        " 'genai_prices', 'xllamacpp', 'onnxruntime'}; print(heavy & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.strip() == "set()", shown.stderr


def test_without_extras_tables_and_questions_work(tmp_path: Path) -> None:
    extras = (
        *("numpy", "sklearn", "scipy", "lightgbm", "jax", "gguf", "altair", "evalica", "pandas"),
        *("uvicorn", "xllamacpp", "onnxruntime", "tokenizers", "psycopg", "google.auth"),
    )
    with serve(OpenAIServer()) as server:
        table = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": server.base_url}
        code = f"""
import sys
for name in {extras}:
    sys.modules[name] = None
import swath as sw
with sw.Session({{"models": {{"m": {table}}}, "store": "memory://"}}):
    rows = sw.frame({{"text": ["a", "b"]}})
    made = rows.with_columns(out=sw.map("{{text}}", model="m")).collect()
    assert made["out"].null_count() == 0, made
    assert sw.complete("hello", model="m").text
import swath.cli.app, swath.gateway.app
try:
    from swath import routing
except sw.errors.MissingExtra as error:
    print(error)
"""
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
    assert ended.returncode == 0, ended.stderr
    assert "swath[routing]" in ended.stdout
