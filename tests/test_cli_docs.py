"""The documentation is true: docs/cli.md holds each command's own help, docs/config.md each key,
the README examples that run.

`python -m tests.test_cli_docs` writes docs/cli.md anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from swath.config import ModelConfig, load
from tests.cli_kit import Cli, cli
from tests.servers import OpenAIServer, serve

__all__ = ["cli"]
ROOT = Path(__file__).parent.parent
COMMANDS = (
    "",
    "demo",
    "enrich",
    "models",
    "models list",
    "models pull",
    "calls",
    "runs",
    "doctor",
    "compare",
    "label",
    "judge run",
    "judge stats",
    "eval",
    "prompts",
    "prompts log",
    "prompts show",
    "prompts diff",
    "prompts save",
    "prompts promote",
    "prompts try",
    "prompts compare",
    "prompts suggest",
    "recipes",
    "recipes show",
    "router train",
    "router predict",
    "router calibrate",
    "router eval",
    "router kinds",
)
HEAD = """\
# The command line

Exit status of every command: 0 ran through (failed rows are counted and named), 1 an error, 2 wrong
usage, 3 stopped at the budget, 130 interrupted. Results go to stdout, notes and progress to stderr.
An error is one line that says what exists and what to do; `--debug` shows the traceback.

`swath enrich --report run.json` writes `rows, ok, failed, calls, cached, retries, input_tokens,
cached_input_tokens, output_tokens, cost_usd, seconds`, how it ended (`status`), the same numbers
`by_model`, `notes`, and every failure in `errors` (`row`, `column`, `model`, `kind`, `reason`).

After a budget (3) or an interruption (130), OUT and the report hold what was ready. Run the same
again, and it asks only what is missing.
"""


def usage(command: str) -> str:
    """What `swath COMMAND --help` prints in 80 columns."""
    from swath.cli.app import run

    os.environ["COLUMNS"] = "80"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run([*command.split(), "--help"]) == 0
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def page() -> str:
    parts = [HEAD]
    for command in COMMANDS:
        name = f"swath {command}".strip()
        parts.append(f"## {name}\n\n```\n{usage(command)}\n```\n")
    return "\n".join(parts)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_cli_page_names_every_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name and not word for word: another typer lays its help out in another way."""
    monkeypatch.setenv("COLUMNS", "80")
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    section = written.split(f"## {f'swath {command}'.strip()}\n")[1].split("\n## ")[0]
    for option in re.findall(r"--[a-z-]+", usage(command)):
        assert option in section, "write it anew: python -m tests.test_cli_docs"


def test_the_config_page_names_every_key() -> None:
    text = (ROOT / "docs" / "config.md").read_text("utf-8")
    for field in msgspec.structs.fields(ModelConfig):
        assert f"`{field.name}`" in text, field.name
    for variable in ("SWATH_CONFIG", "SWATH_STORE", "SWATH_CHECK_KEYS", "SWATH_CACHE_DIR"):
        assert f"`{variable}`" in text


@pytest.mark.parametrize("page", ["README.md", "docs/config.md"])
def test_every_config_that_is_shown_is_one(page: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        table: dict[str, Any] = tomllib.loads(block)
        assert load(table).models


def test_the_readme_does_what_it_says(cli: Cli) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    cli.write("readme.py", "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)))
    command = next(line for line in text.splitlines() if line.startswith("swath enrich"))
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        done = subprocess.run(
            [sys.executable, "readme.py"],
            cwd=cli.folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "You said: Name three rivers" in done.stdout
        shell = cli(*shlex.split(command)[1:])
        assert shell.status == 0, shell.err
    assert (cli.folder / "labelled.csv").exists()


def test_every_link_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")]
    for path in pages:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(page(), "utf-8")
