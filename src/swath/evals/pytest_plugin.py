"""Golden sets as tests: pytest collects them, and a fixture runs one from a test.

Files named `*.golden.toml` are collected (`swath_golden` in the ini file says other patterns), and
a golden file that is named on the command line: `pytest golden.toml`. A check of a model is a test;
its failure names the rows. Nothing of Swath is loaded before a golden file is met.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from swath.evals.golden.report import CheckResult, Regression, Report

Golden = Callable[..., Any]
PATTERN = "*.golden.toml"
NAMED = "*golden*.toml"  # on the command line


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("swath", "golden sets of Swath")
    group.addoption(
        "--golden-against",
        metavar="promoted|FILE",
        help="fail golden sets that are worse than the promoted prompt, or a saved report",
    )
    group.addoption(
        "--golden-max-cost",
        type=float,
        metavar="DOLLARS",
        help="never spend more than this on one golden set",
    )
    parser.addini(
        "swath_golden", f"patterns of golden files to collect (default: {PATTERN})", type="args"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    patterns = parent.config.getini("swath_golden") or [PATTERN]
    wanted = any(fnmatch(file_path.name, pattern) for pattern in patterns)
    named = parent.session.isinitpath(file_path) and fnmatch(file_path.name, NAMED)
    if not (wanted or named):
        return None
    collected: GoldenFile = GoldenFile.from_parent(parent, path=file_path)
    return collected


class GoldenFile(pytest.File):
    """A golden file. It runs when its first check does, once."""

    _report: Report | BaseException | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from swath.errors import SwathError
        from swath.evals.golden.read import read_suite

        try:
            suite = read_suite(self.path)
            models = suite.models or (_default(),)
        except SwathError as error:
            raise self.CollectError(str(error)) from None
        for model in models:
            for check in suite.checks:
                yield GoldenCheck.from_parent(
                    self, name=f"{check.name}[{model}]", check=check.name, model=model
                )

    def report(self) -> Report:
        """Raises what running it raised, each time."""
        if self._report is None:
            try:
                self._report = _run(self.config, self.path)
            except BaseException as error:
                self._report = error
        if isinstance(self._report, BaseException):
            raise self._report
        return self._report


class GoldenCheck(pytest.Item):
    def __init__(self, *, check: str, model: str, **common: Any) -> None:
        super().__init__(**common)
        self.check, self.model = check, model

    def runtest(self) -> None:
        parent = self.parent
        assert isinstance(parent, GoldenFile)
        report = parent.report()
        mine = [c for c in report.checks if (c.check, c.model) == (self.check, self.model)]
        worse = [r for r in report.regressions if (r.check, r.model) == (self.check, self.model)]
        if not all(c.ok for c in mine) or any(r.regressed for r in worse):
            raise GoldenFailure(report, mine, worse)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from swath.errors import SwathError

        if isinstance(excinfo.value, GoldenFailure | SwathError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.name}: {self.name}"


class GoldenFailure(AssertionError):
    """A check that does not hold, or is worse than before: with its rows."""

    def __init__(
        self, report: Report, checks: list[CheckResult], regressions: list[Regression]
    ) -> None:
        from swath.evals.golden.text import check_text

        parts = [check_text(report, check) for check in checks]
        parts += [regression.sentence for regression in regressions]
        super().__init__("\n".join(parts))


@pytest.fixture
def golden(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Golden:
    """`golden("reply.golden.toml")` runs a golden set and fails the test where it does not pass.

    Paths start at the test's own folder. Further arguments are those of `sw.golden`. Gives the
    report; with `check=False` also of one that fails."""

    def run(path: str | os.PathLike[str], *, check: bool = True, **settings: Any) -> Report:
        report = _run(pytestconfig, request.path.parent / path, **settings)
        if check and not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return run


def _run(config: pytest.Config, path: Path, **settings: Any) -> Report:
    from swath.evals.golden.run import golden as run

    given = {
        "against": config.getoption("--golden-against"),
        "max_cost": config.getoption("--golden-max-cost"),
    }
    return run(path, **{**given, **settings})


def _default() -> str:
    """The session's default model: nothing is asked to tell it."""
    from swath.catalog.models import Models
    from swath.config import load

    return Models(load(None)).default
