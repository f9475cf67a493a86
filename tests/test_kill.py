"""A killed run never pays twice: kill -9 at random moments, resume, compare with a whole run."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import model_table
from tests.pipeline import pipeline
from tests.servers import OpenAIServer, serve

ROOT = Path(__file__).parent.parent
IN_FLIGHT = 32


def write_config(path: Path, server: OpenAIServer, store: str) -> Path:
    table = model_table(server, concurrency=IN_FLIGHT)
    price = table.pop("price")
    lines = [f'store = "sqlite:///{store}"', "[models.fast]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    lines.append(f"price = {{ input = {price['input']}, output = {price['output']} }}")
    path.write_text("\n".join(lines))
    return path


def start(config: Path, rows: int, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.pipeline", str(config), str(rows), str(out)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def killed_and_resumed(tmp_path: Path, rows: int, kills: int, seed: int) -> None:
    """`kills` runs over one store, each ended by SIGKILL at a moment of its own, and a last one."""
    rng = random.Random(seed)
    with serve(OpenAIServer(latency=(0.02, 0.08))) as server:
        config = write_config(tmp_path / "swath.toml", server, "broken.db")
        out = tmp_path / "broken.parquet"
        for kill in range(kills):
            # The moment is one of the run's own: some number of answers on, then a bit of time.
            share = rows / (kills + 1)
            target = server.stats.answered + rng.uniform(0.2, 1.0) * share
            process = start(config, rows, out)
            deadline = time.monotonic() + 60
            while server.stats.answered < target and time.monotonic() < deadline:
                time.sleep(0.002)
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
            process.wait()
            assert not out.exists(), f"run {kill} ended before it was killed"
        process = start(config, rows, out)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        counts = server.stats.answered_by_prompt
        assert len(counts) == rows
        twice = sum(n - 1 for n in counts.values())
        assert twice <= kills * IN_FLIGHT
        paid = server.stats.answered

        server.reset()
        whole = write_config(tmp_path / "whole.toml", server, "whole.db")
        process = start(whole, rows, tmp_path / "whole.parquet")
        assert process.wait(timeout=120) == 0
        assert server.stats.answered == rows <= paid
    unbroken = pl.read_parquet(tmp_path / "whole.parquet")
    assert pl.read_parquet(out).equals(unbroken)
    assert unbroken["argument"].null_count() == 0


def test_kill_and_resume(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, rows=600, kills=3, seed=1)


@pytest.mark.slow
def test_kill_twenty_times_and_resume(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, rows=2000, kills=20, seed=2)


def test_the_pipeline_is_the_same_over_a_second_run(tmp_path: Path) -> None:
    with serve(OpenAIServer()) as server:
        import swath as sw

        config = write_config(tmp_path / "swath.toml", server, "s.db")
        with sw.Session(config):
            first = pipeline(50).collect()
            assert pipeline(50).collect().equals(first)
        assert server.stats.answered == 50
