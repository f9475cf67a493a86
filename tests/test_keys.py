"""A key goes to its provider and nowhere else."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

import swath as sw
from swath.catalog import Secret
from swath.errors import KeyMissing
from tests.conftest import model_table
from tests.servers import AnthropicServer, Fault, GoogleServer, OpenAIServer, Server, serve

KEY = "sk-very-secret-0123456789abcdef"
VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "X_KEY"}


def config_for(server: Server, tmp_path: Path) -> dict[str, Any]:
    table = model_table(server)
    table["api_key_env"] = VARIABLES[table["provider"]]
    return {"models": {"m": table}, "store": f"sqlite:///{tmp_path}/swath.db"}


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
@pytest.mark.parametrize("fault", [None, "unauthorized", "500", "cut", "malformed", "quota"])
def test_a_key_is_seen_nowhere(
    make: Any,
    fault: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("swath.engine.retry.BASE", 0.001)
    faults = [Fault(fault)] if fault else []
    with serve(make(keys={KEY}, faults=faults, keep_requests=True)) as server:
        config = config_for(server, tmp_path)
        monkeypatch.setenv(config["models"]["m"]["api_key_env"], KEY)
        session = sw.Session(config, check=False)
        said = ""
        try:
            said = session.complete("hello").text
        except sw.SwathError as error:
            said = "".join(traceback.format_exception(error)) + repr(error)
        said += repr(session) + str(session.models["m"]) + repr(session.config)
        said += repr(session.engine.__dict__)
        session.close()
        sent = server.stats.requests
        assert any(KEY in str(r.headers) + r.path for r in sent)  # it did arrive
    out, err = capfd.readouterr()
    assert KEY not in said + out + err + caplog.text
    assert KEY.encode() not in everything_in(tmp_path)
    assert said


def test_a_key_in_a_dotenv_is_used_and_stays_there(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    with serve(OpenAIServer(keys={KEY})) as server:
        with sw.Session(config_for(server, tmp_path)) as session:
            assert session.complete("hello").text
        program = "import os, swath as sw; sw.Session(); print(os.environ.get('OPENAI_API_KEY'))"
        environ = {"SWATH_CHECK_KEYS": "0", "PATH": "", "HOME": str(tmp_path)}
        shown = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True
        )
        assert shown.stdout.strip() == b"None", shown.stderr


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
def test_a_wrong_key_is_found_when_the_session_opens(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(make(keys={"another"})) as server:
        config = config_for(server, tmp_path)
        variable = config["models"]["m"]["api_key_env"]
        monkeypatch.setenv(variable, KEY)
        with pytest.raises(KeyMissing) as caught:
            sw.Session(config)
        assert variable in str(caught.value)
        assert config["models"]["m"]["provider"] in str(caught.value)
        assert KEY not in str(caught.value)
        assert server.stats.received == 0  # no model call was made to find out
        sw.Session(config, check=False).close()


def test_a_missing_key_names_its_variable(tmp_path: Path) -> None:
    config = {"models": {"m": {"provider": "anthropic", "model": "claude-haiku-4-5"}}}
    with pytest.raises(KeyMissing, match="ANTHROPIC_API_KEY"):
        sw.Session(config)


def test_a_secret_prints_as_stars() -> None:
    secret = Secret(KEY)
    assert KEY not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
