"""The pytest plugin: golden files as tests, and the fixture."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points

import pytest

from swath import session as session_module
from tests.cli_kit import alone
from tests.golden_kit import route, suite, tickets
from tests.servers import OpenAIServer, serve

pytest_plugins = ["pytester"]
# A run in this process forgets the modules that it loads; these are loaded before.
for module in ("evals.golden.run", "evals.golden.junit", "evals.golden.text", "prompting.history"):
    import_module(f"swath.{module}")
for module in ("catalog.models", "cli.tables", "frames.readers", "operators", "store.sqlite"):
    import_module(f"swath.{module}")
# The plugin comes by its entry point where the package is installed; else it is named.
PLUGIN = () if entry_points(group="pytest11", name="swath") else ("-p", "swath.evals.pytest_plugin")

PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:asyncio")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve(OpenAIServer(respond=route)) as running:
        yield running


@pytest.fixture
def project(
    pytester: pytest.Pytester, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    alone(monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    tickets(pytester.path)
    (pytester.path / "swath.toml").write_text(
        'check_keys = false\n[models.fast]\nprovider = "openai"\nmodel = "gpt-4.1-nano"\n'
        f'base_url = "{server.base_url}"\n'
    )
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """In this process, which takes a tenth of the time of one of its own."""
    try:
        return project.runpytest_inprocess(*PLUGIN, *PLAIN, *arguments)
    finally:
        for session in session_module._open.copy():  # which the run has opened
            session.close()


def test_golden_files_are_collected_and_pass(project: pytest.Pytester) -> None:
    suite(project.path, name="route.golden.toml")
    suite(project.path, name="other.toml")
    result = run(project, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*route.golden.toml*exact?fast?*PASSED*"])


def test_a_failure_names_the_rows(project: pytest.Pytester, server: OpenAIServer) -> None:
    server.respond = lambda p, b: "loan" if p == "card 3" else route(p, b)
    needs = '[[checks]]\nkind = "regex"\npattern = "^[a-z]+$"'
    suite(project.path, needs=needs, name="route.golden.toml")
    result = run(project)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*FAIL*exact*fast*0.95*every row*19 of 20 pass", "*row 3, id t3: got loan, expected card"]
    )
    assert "Traceback" not in result.stdout.str()
    assert server.stats.answered == 20  # the file runs once for all of its checks


def test_a_file_by_name_and_patterns_in_the_ini(project: pytest.Pytester) -> None:
    suite(project.path, name="golden.toml")
    run(project).assert_outcomes()
    run(project, "golden.toml").assert_outcomes(passed=1)
    project.makeini("[pytest]\nswath_golden = golden*.toml")
    run(project).assert_outcomes(passed=1)


def test_a_faulty_file_is_an_error_that_names_the_line(project: pytest.Pytester) -> None:
    path = suite(project.path, name="route.golden.toml")
    path.write_text(path.read_text().replace('"exact"', '"exakt"'))
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no check 'exakt' (line 11 of route.golden.toml)*"])


def test_against_and_a_budget(project: pytest.Pytester, server: OpenAIServer) -> None:
    good = 'prompt = { name = "route", text = "Good." }'
    suite(project.path, "threshold = 0.1", good, name="route.golden.toml")
    run(project).assert_outcomes(passed=1)
    command = [sys.executable, "-m", "swath", "prompts", "promote", "route", "1"]
    subprocess.run(command, cwd=project.path, check=True, capture_output=True)
    server.respond = lambda p, b: "card"
    suite(project.path, "threshold = 0.1", good.replace("Good", "Bad"), name="route.golden.toml")
    run(project).assert_outcomes(passed=1)
    result = run(project, "--golden-against", "promoted")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*REGRESSED: not noise*"])


def test_the_fixture(project: pytest.Pytester, server: OpenAIServer) -> None:
    server.respond = lambda p, b: "loan" if p == "card 3" else route(p, b)
    suite(project.path, name="strict.toml")
    suite(project.path, needs="threshold = 0.9", name="mild.toml")
    project.makepyfile(
        """
        def test_mild(golden):
            report = golden("mild.toml")
            assert report.checks[0].passed == 19

        def test_strict(golden):
            golden("strict.toml")

        def test_looked_at(golden):
            assert not golden("strict.toml", check=False, limit=5)
        """
    )
    result = project.runpytest_subprocess(*PLUGIN, *PLAIN)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*row 3, id t3: got loan, expected card"])


def test_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, swath.evals.pytest_plugin\n"
        "print([m for m in ('polars', 'numpy', 'pydantic', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
