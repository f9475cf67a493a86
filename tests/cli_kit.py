"""Running the `swath` command in tests: in this process, or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from swath.cli.app import run

TICKETS = """\
id,text
1,I lost my card in the city yesterday and need a new one
2,"What is the rate, for a loan?"
3,
4,The app crashes whenever I log in
5,I lost my card in the city yesterday and need a new one
"""
SCHEMA = """\
from pydantic import BaseModel


class Triage(BaseModel):
    summary: str
    urgent: bool
"""


@dataclass
class Outcome:
    status: int
    out: str
    err: str


class Cli:
    """The command in a folder of its own, with nothing of the user's around it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Outcome:
        self._capsys.readouterr()
        status = run([str(a) for a in arguments])
        out, err = self._capsys.readouterr()
        return Outcome(status, out, err)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def config(self, base_url: str, **more: object) -> Path:
        """A swath.toml with one model, 'fast', at a test server."""
        lines = ["[models.fast]", 'provider = "openai"', 'model = "gpt-4.1-nano"']
        lines.append(f'base_url = "{base_url}"')
        for key, value in more.items():
            lines.append(f"{key} = {value}")
        return self.write("swath.toml", "\n".join(lines) + "\n")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    alone(monkeypatch)
    monkeypatch.chdir(tmp_path)
    made = Cli(tmp_path, capsys)
    made.write("tickets.csv", TICKETS)
    made.write("schema.py", SCHEMA)
    return made


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys and no settings from the environment; the cache of weights and prices stays."""
    kept = ("SWATH_CACHE_DIR", "SWATH_MODELS_DIR", "SWATH_TEST_POSTGRES")
    for name in list(os.environ):
        if name.endswith("_API_KEY") or (name.startswith("SWATH_") and name not in kept):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`swath …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "swath", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
