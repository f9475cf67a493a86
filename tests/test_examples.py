"""The scripts in examples/ run as they stand, over test servers or the local model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.data_kit import data
from tests.examples_page import PAGE, SIZES
from tests.servers import AnthropicServer, GoogleServer, OpenAIServer, serve

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder: Path, script: str, *arguments: str, **env: str) -> str:
    """The script's output; fails with what it said where it failed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_told_of_and_tested() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")} - {"shared_data.py"}
    told = (EXAMPLES / "README.md").read_text("utf-8")
    tested = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert scripts
    assert all(f"`{name}`" in told and f'"{name}"' in tested for name in scripts)


def test_own_server(tmp_path: Path) -> None:
    with serve(OpenAIServer()) as server:
        out = run(tmp_path, "own_server.py", OPENAI_BASE_URL=server.base_url)
        assert server.stats.answered == 3
    assert "About 3 calls" in out
    table = pl.read_csv(tmp_path / "tickets-triaged.csv")
    assert set(table["urgency"]) <= {"low", "medium", "high"}


def test_three_providers(tmp_path: Path) -> None:
    with (
        serve(OpenAIServer()) as openai,
        serve(AnthropicServer()) as anthropic,
        serve(GoogleServer()) as google,
    ):
        out = run(
            tmp_path,
            "three_providers.py",
            OPENAI_API_KEY="a",
            ANTHROPIC_API_KEY="b",
            GEMINI_API_KEY="c",
            OPENAI_BASE_URL=openai.base_url,
            ANTHROPIC_BASE_URL=anthropic.base_url,
            GEMINI_BASE_URL=google.base_url,
        )
        assert (openai.stats.answered, anthropic.stats.answered, google.stats.answered) == (4, 1, 1)
    assert all(f"{alias}: " in out for alias in ("small", "careful", "long"))


def test_chat(tmp_path: Path) -> None:
    with serve(OpenAIServer()) as server:
        (tmp_path / "swath.toml").write_text(
            f'[models.m]\nprovider = "openai"\nmodel = "m"\nbase_url = "{server.base_url}"\n'
        )
        out = run(tmp_path, "chat.py")
        assert server.stats.answered == 3
    assert "You said: Name the capital" in out


@pytest.mark.local
def test_local_speeches(tmp_path: Path) -> None:
    out = run(tmp_path, "local_speeches.py", "1")
    assert "Janusz Wojciechowski: " in out


# -- over the shared data


@pytest.mark.local
@pytest.mark.parametrize(
    ("script", "rows", "says"),
    [
        ("ticket_triage.py", "5", "Nothing was spent"),
        ("content_moderation.py", "4", "Mood agrees with the label"),
        ("market_intelligence.py", "5", "score"),
        ("parliament_debates.py", "2", "stance"),
        ("product_matching.py", "3", "decided by the model: precision"),
    ],
)
def test_over_the_shared_data(script: str, rows: str, says: str, tmp_path: Path) -> None:
    out = run(tmp_path, script, rows, SWATH_DATA=str(data(".")))
    assert says in out
    assert "failed" not in out.replace("0 failed", "")


def test_the_page_shows_the_scripts_as_they_stand() -> None:
    page = PAGE.read_text("utf-8")
    for name, rows in SIZES.items():
        assert (EXAMPLES / f"{name}.py").read_text("utf-8").strip() in page, "run the page again"
        assert f"python examples/{name}.py {rows}` printed" in page
