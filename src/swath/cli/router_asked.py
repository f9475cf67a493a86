"""What `swath router train` asks of models: golden sets, and prompts to be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swath.cli import console

if TYPE_CHECKING:
    import polars as pl

    from swath.routing.graded import Graded
    from swath.session import Session


class Asked:
    """What asks models, out of one budget."""

    def __init__(
        self, config: str | None, models: str | None, max_cost: float | None, seed: int
    ) -> None:
        from swath.cli.compare import names

        self._config = config
        self._models = names(models)
        self._left = max_cost
        self._seed = seed

    def golden(self, source: str) -> Graded:
        """A golden set is run, a report read."""
        from pathlib import Path

        from swath.errors import InputError
        from swath.evals.golden.read import read_suite
        from swath.evals.golden.report import load_report
        from swath.evals.golden.run import golden
        from swath.routing.training_data import of_golden

        if not source.endswith(".toml"):
            if self._models:
                raise InputError(
                    "A report has its models already.",
                    hint="Leave out --models, or give the .toml.",
                )
            report = load_report(source)
            if not Path(report.file).is_file():
                raise InputError(
                    f"The golden set of this report, '{report.file}', is not there.",
                    hint="Run this where swath eval was run, or give the .toml itself.",
                )
            return of_golden(report, read_suite(report.file))
        suite = read_suite(source)
        entered = self._models or list(suite.models)
        if len(entered) < 2:
            raise InputError(
                f"A router chooses between models; '{source}' names {len(entered)}.",
                hint="Give --models small,large, or models = [...] in the file.",
            )
        with self._session(entered) as session:
            with _stopping():
                report = golden(
                    suite, models=entered, max_cost=self._left, progress=None, session=session
                )
            self._spend(report.metrics.cost_usd)
            return of_golden(report, suite)

    def kept(self, which: str) -> pl.DataFrame:
        """The prompts of `which` calls that the ledger kept, as rows of `messages`."""
        from swath.cli.ledger import look
        from swath.errors import InputError
        from swath.routing.replayed import logged

        found = look(self._config, lambda store: logged(store, which))
        if found is None:
            raise InputError("There are no calls to learn from.", hint="Give --prompts FILE.")
        return found

    def judged(
        self, prompts: pl.DataFrame, judge: str | None, sample: int, dry_run: bool
    ) -> Graded | None:
        """Answers and verdicts on a sample, kept as a comparison; None where that is not wanted."""
        from swath.cli.compare import names
        from swath.evals.contestants import contestants
        from swath.evals.keeping import home
        from swath.routing import replayed
        from swath.routing.training_data import of_comparison

        judges = names(judge)
        said, left = replayed.conversations(prompts)
        if left:
            console.note(f"Note: {left:,} rows that ask nothing in text were left out.")
        chosen = replayed.sampled(said, sample, self._seed)
        aliases = [each.model for each in contestants(self._models)]
        with self._session([*aliases, *judges], reach=not dry_run) as session:
            told = replayed.forecast(chosen, self._models, judges, session=session)
            console.note(_told(told, self._left))
            if dry_run:
                return None
            with _stopping():
                made = replayed.judged(
                    chosen, self._models, judges, max_cost=self._left, session=session
                )
            folder = made.save(home(session.config) / made.id)
            console.note(f"Answers and verdicts are kept in {console.place(folder)}.")
            if made.trust is not None:
                console.note(made.trust.sentence)
            return of_comparison(made)

    def _session(self, aliases: list[str], reach: bool = True) -> Session:
        from swath.cli.compare import _ready
        from swath.session import Session

        session = Session(self._config)
        try:
            if reach:
                _ready(session, aliases)
            else:
                for alias in aliases:
                    session.models[alias]
        except BaseException:
            session.close()
            raise
        return session

    def _spend(self, dollars: float) -> None:
        if self._left is not None:
            self._left = max(self._left - dollars, 0.0)


def _stopping() -> Any:
    """Says what becomes of what was bought where a budget, or Ctrl-C, ends it."""
    from contextlib import contextmanager

    from swath.errors import BudgetReached, Interrupted

    @contextmanager
    def stopping() -> Any:
        try:
            yield
        except (BudgetReached, Interrupted):
            console.note(
                "No router was made. What was bought is stored: the same command goes on from here."
            )
            raise

    return stopping()


def _told(told: Any, max_cost: float | None) -> str:
    judges = "1 judge" if told.judges == 1 else f"{told.judges} judges"
    parts = [
        f"{console.count(told.prompts, 'prompt')}, {told.models} models, {judges} in both orders: "
        f"at most {console.count(told.calls, 'call')}, about {console.dollars(told.cost_usd)}"
    ]
    if max_cost is not None:
        parts.append(f", never more than {console.dollars(max_cost)}")
    parts.append(".")
    if told.stored:
        parts.append(f" {told.stored:,} answers are stored already and cost nothing.")
    if told.unpriced:
        named = ", ".join(f"'{name}'" for name in told.unpriced)
        parts.append(f" No price is known for {named}.")
    return "".join(parts)
