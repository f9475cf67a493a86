"""`swath calls` and `swath runs` on calls that a router placed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import swath as sw
from swath.session import Session
from tests.cli_kit import Cli
from tests.cli_kit import cli as cli
from tests.servers import Fault, OpenAIServer, serve

CONFIG = """\
check_keys = false
store = "sqlite:///ledger.db"
[models.small]
provider = "openai"
model = "gpt-4.1-nano"
base_url = "{url}"
price = {{ input = 0.1, output = 0.4 }}
deadline = 5
[models.large]
provider = "openai"
model = "gpt-4.1"
base_url = "{url}"
{price}
[router]
weak = "small"
strong = "large"
"""
PRICE = "price = { input = 1.0, output = 4.0 }"
EASY, HARD = "Say hello.", "Prove that there are infinitely many primes, step by step. " * 12


@contextmanager
def spent(cli: Cli, *asked: tuple[str, str], price: str = PRICE, more: str = "") -> Iterator[Any]:
    """A ledger in which each (name, prompt) of `asked` was a call."""
    with serve(OpenAIServer(respond=lambda prompt, body: "An answer.")) as server:
        text = CONFIG.format(url=server.base_url, price=price) + more
        file = cli.write("swath.toml", text)
        with Session(str(file)) as session:
            for name, prompt in asked:
                session.complete(prompt, model=name)
            yield server, session


def shown(cli: Cli, *arguments: str) -> Any:
    told = cli(*arguments, "--json")
    assert told.status == 0, told.err
    return json.loads(told.out)


def test_what_routing_saved_is_told_by_name(cli: Cli) -> None:
    asked = [("auto", EASY), ("auto", HARD), ("auto", EASY), ("large", EASY + "!")]
    with spent(cli, *asked, ("auto:share=0", HARD)):
        pass
    told = shown(cli, "calls")
    routes = {row["route"]: row for row in told["by_route"]}
    assert list(routes) == ["auto", "auto:share=0"]  # what names its model is not in it
    auto = routes["auto"]
    assert (auto["calls"], auto["cached"], auto["strong_share"]) == (3, 1, 0.5)
    bought = [c for c in told["calls"] if c["route"] == "auto" and not c["cached"]]
    weak = next(c for c in bought if c["model"] == "small")
    assert auto["cost_usd"] == pytest.approx(sum(c["cost_usd"] for c in bought))
    assert auto["strong_usd"] == pytest.approx(sum(c["strong_usd"] for c in bought))
    assert auto["saved_usd"] == pytest.approx(9 * weak["cost_usd"])  # ten times the price
    assert {c["route_strong"] for c in bought} == {"large"}
    assert shown(cli, "runs")["by_route"] == told["by_route"]
    only = shown(cli, "calls", "--route", "auto:share=0")
    assert [c["route"] for c in only["calls"]] == ["auto:share=0"]
    assert [row["route"] for row in only["by_route"]] == ["auto:share=0"]
    page = cli("calls").out
    assert "auto: score" in page
    assert "all strong" in page
    assert "50%" in page
    assert "all strong" in cli("runs").out


def test_without_routing_nothing_is_said_of_it(cli: Cli) -> None:
    with spent(cli, ("large", EASY)):
        pass
    page = cli("calls").out
    assert "route" not in page
    assert "route" not in cli("runs").out
    assert shown(cli, "calls")["by_route"] == []
    wrong = cli("calls", "--route", "auto")
    assert wrong.status == 1
    assert "no route 'auto'" in wrong.err


def test_where_the_strong_model_has_no_price_no_saving_is_claimed(cli: Cli) -> None:
    free = "price = { input = 0.0, output = 0.0 }"
    with spent(cli, ("auto", EASY), price=free):
        pass
    (row,) = shown(cli, "calls")["by_route"]
    assert row["saved_usd"] is None
    assert "–" in cli("calls").out.splitlines()[-1]


def test_shadow_calls_are_taken_off_what_was_saved(cli: Cli) -> None:
    learning = "shadow = 1.0\nshadow_budget = 1.0\n"
    with spent(cli, ("auto", EASY), ("auto", EASY + "!"), more=learning) as (server, session):
        end = time.monotonic() + 5
        while len(_calls(session)) < 4:
            assert time.monotonic() < end
            time.sleep(0.02)
    (row,) = shown(cli, "calls")["by_route"]
    assert (row["calls"], row["strong_share"]) == (2, 0.0)  # the shadows answered nobody
    assert row["shadow_usd"] == pytest.approx(row["strong_usd"])  # the same tokens, at large
    assert row["saved_usd"] == pytest.approx(-row["cost_usd"])
    assert "-$" in cli("calls").out  # learning cost more than it saved
    assert server.stats.received == 4


def test_the_second_model_of_a_cascade_is_no_retry(cli: Cli) -> None:
    name = "auto:cascade=0.999999"  # the small one is never so sure
    with spent(cli) as (server, session):
        server.faults = [Fault("500", times=1)]
        frame = sw.frame({"t": ["One row"]}).with_columns(a=sw.map("{t}", model=name))
        run = frame.run()
        assert run.metrics.retries == 1
        assert {m: (c.calls, c.retries) for m, c in run.by_model.items()} == {
            "small": (1, 1),
            "large": (1, 0),
        }
        (row,) = _calls(session)
        assert (row["model"], row["route_why"], row["tries"]) == ("large", "unsure", 1)
        session.complete(EASY, model="large")
        half = sw.frame({"t": [EASY]}).with_columns(a=sw.map("{t}", model=name)).run()
        assert {m: (c.calls, c.cached) for m, c in half.by_model.items()}["small"] == (1, 0)


def _calls(session: Session) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        return session.engine.store.query("SELECT * FROM calls ORDER BY at")

    return session.call(read())
