"""Routing in the engine: names, decisions, the ledger, what happens when a model is out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swath as sw
from swath.catalog.routed import route_of
from swath.errors import ConfigError, InputError, UnknownModel
from swath.routing.artifact import save
from swath.routing.training import load
from swath.session import Session
from tests.conftest import model_table
from tests.route_kit import CHEAP, EASY, HARD, encode, house, ledger, prompts, request, trained
from tests.servers import Fault, OpenAIServer

# -- names


def test_names_say_what_they_ask_for() -> None:
    assert route_of("gpt-4") is None
    assert route_of("automatic") is None
    auto = route_of("auto")
    assert auto is not None
    assert not auto.ruled
    asked = route_of("auto:share=0.3,cascade=0.8")
    assert asked is not None
    assert (asked.share, asked.cascade, asked.quality) == (0.3, 0.8, None)
    learned = route_of("auto:samples=3, cascade, quality=0.9")
    assert learned is not None
    assert (learned.learned, learned.cascade, learned.samples) == (True, None, 3)
    assert learned.quality == 0.9
    mf = route_of("router-mf-0.116")
    assert mf is not None
    assert (mf.kind, mf.threshold) == ("factorization", 0.116)
    below = route_of("router-transfer--1.5")
    assert below is not None
    assert below.threshold == -1.5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("auto:", "unknown"),
        ("auto:qualty=0.9", "quality"),
        ("auto:quality=high", "no number"),
        ("auto:quality=1.5", "out of range"),
        ("auto:max_price=-1", "out of range"),
        ("auto:quality=0.9,share=0.5", "two rules"),
        ("auto:quality=0.9,cascade=0.5", "two rules"),
        ("auto:share=0.1,share=0.2", "repeated"),
        ("auto:threshold=nan", "out of range"),
        ("auto:cascade,share=0.5", "two rules"),
        ("auto:cascade,cascade=0.5", "unknown or repeated"),
        ("auto:cascade=0.5,cascade", "unknown or repeated"),
        ("auto:quality", "no number"),
        ("auto:cascade,cascade", "unknown or repeated"),
        ("auto:samples=3", "no sense"),
        ("auto:samples=2.5,cascade=0.5", "no sense"),
        ("auto:samples=11,cascade=0.5", "no sense"),
    ],
)
def test_bad_names_are_refused_with_a_reason(name: str, says: str) -> None:
    with pytest.raises(UnknownModel, match=says):
        route_of(name)


# -- decisions


def test_easy_prompts_go_to_the_weak_model_and_hard_ones_to_the_strong(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        assert session.complete(EASY, model="auto").model == "small"
        assert session.complete(HARD, model="auto").model == "large"
        assert them.asked == (1, 1)


def test_the_ledger_tells_decision_scores_and_saving(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        session.complete(EASY, model="auto")
        session.complete(HARD, model="auto")
        session.complete(EASY, model="large")
        first, second, third = ledger(session)
        assert [r["route"] for r in (first, second, third)] == ["auto", "auto", ""]
        assert [r["model"] for r in (first, second, third)] == ["small", "large", "large"]
        assert first["route_why"] == "score"
        said = json.loads(first["route_scores"])
        assert set(said) == {"score", "small", "large"}
        assert said["score"] < json.loads(second["route_scores"])["score"]
        # The same tokens at ten times the price.
        assert first["strong_usd"] == pytest.approx(10 * first["cost_usd"])
        assert second["strong_usd"] == pytest.approx(second["cost_usd"])
        assert third["strong_usd"] == 0


def test_a_routed_call_and_a_plain_one_to_the_same_model_are_one_question(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        session.complete(EASY, model="small")
        again = session.complete(EASY, model="auto")
        assert again.cached
        assert them.asked == (1, 0)
        # Another name that leads to the same model too, and another session on the same store.
        assert them.session().complete(EASY, model="auto:share=0.2").cached
        assert ledger(session)[-1]["strong_usd"] == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_prompts_goes_to_the_strong_model(tmp_path: Path, share: float) -> None:
    texts = prompts(200)
    router = save(trained(texts), tmp_path / "my.router")
    with house(tmp_path) as them:
        session = them.session(artifact=str(router))
        model = f"auto:share={share}"
        frame = sw.frame({"text": texts}).with_columns(a=sw.map("{text}", model=model))
        run = frame.run()
        strong = sum(a == "from large" for a in run.table["a"])
        assert strong == pytest.approx(200 * share, abs=4)
        assert session.config.router.share == 0.5


def test_quality_asks_the_cheapest_model_that_is_good_enough(tmp_path: Path) -> None:
    texts = prompts(120)
    router = trained(texts)
    save(router, tmp_path / "my.router")
    with house(tmp_path) as them:
        them.session(artifact="my.router")
        quality = router.predict(texts)
        for target in (0.5, 0.9, 1.0):
            model = f"auto:quality={target}"
            run = sw.frame({"text": texts}).with_columns(a=sw.map("{text}", model=model)).run()
            weak = quality[:, router.models.index("small")]
            fits = weak >= target * quality.max(axis=1)
            assert [a == "from small" for a in run.table["a"]] == fits.tolist()


def test_max_price_keeps_to_models_that_cost_no_more(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        assert session.complete(HARD, model="auto:max_price=1").model == "small"
        assert session.complete(HARD, model="auto:max_price=10").model == "large"
        with pytest.raises(ConfigError, match=r"at most \$0.01.*'small' \$0.175"):
            session.complete(HARD, model="auto:max_price=0.01")


def test_routellms_names_work_and_another_kind_is_refused(tmp_path: Path) -> None:
    texts = prompts(60)
    save(trained(texts, "similarity"), tmp_path / "sw.router")
    with house(tmp_path) as them:
        session = them.session(artifact="sw.router")
        scores = load(tmp_path / "sw.router", encode).score(texts)
        middle = float(np.median(scores))
        for text, score in list(zip(texts, scores, strict=True))[:20]:
            wanted = "large" if score >= middle else "small"
            assert session.complete(text, model=f"router-sw_ranking-{middle}").model == wanted
        with pytest.raises(UnknownModel, match=r"factorization.*similarity"):
            session.complete(EASY, model="router-mf-0.116")
        drawn = [session.complete(t, model="router-random-0.5").model for t in texts]
        assert 15 <= drawn.count("large") <= 45


def test_a_calibrated_router_brings_its_own_threshold(tmp_path: Path) -> None:
    from swath.routing.calibrate import for_share

    texts = prompts(100)
    router = trained(texts)
    scores = router.score(texts)
    router.calibration = for_share(scores, 0.2, weak="small", strong="large")
    save(router, tmp_path / "my.router")
    with house(tmp_path) as them:
        them.session(artifact="my.router")
        run = sw.frame({"text": texts}).with_columns(a=sw.map("{text}", model="auto")).run()
        assert sum(a == "from large" for a in run.table["a"]) == 20


def test_a_router_over_aliases_needs_no_mapping(tmp_path: Path) -> None:
    save(trained(prompts(60)), tmp_path / "my.router")
    with house(tmp_path) as them:
        session = them.session(artifact="my.router", weak=None, strong=None)
        assert session.complete(EASY, model="auto:share=0").model == "small"
        assert session.complete(EASY, model="auto:share=1").model == "large"


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session(artifact="missing.router")
        with pytest.raises(InputError, match=r"no router to read.*swath router train"):
            session.complete(EASY, model="auto")
        session = them.session(weak=None, strong=None)
        assert session.complete(EASY, model="auto").model == "small"  # told by the prices
        three = Session(
            {
                "models": {n: model_table(them.small, model=n, **CHEAP) for n in "abc"},
                "store": "memory://",
            },
            check=False,
        )
        with three, pytest.raises(ConfigError, match=r"\[router\], weak = 'alias'"):
            three.complete(EASY, model="auto")
        with pytest.raises(ConfigError, match="gives no vectors"):
            session.embed("text", model="auto")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"artefact": "x"}, "artifact"),
        ({"weak": "smal"}, "small"),
        ({"explore": 2}, "share"),
        ({"shadow": "much"}, "shadow"),
        ({"weak": "large"}, "same model"),
        ({"shadow_budget": -1}, "below 0"),
    ],
)
def test_a_wrong_router_table_names_its_key(
    tmp_path: Path, table: dict[str, Any], says: str
) -> None:
    with house(tmp_path) as them, pytest.raises(ConfigError, match=says):
        them.session(**table)


def test_auto_may_be_the_default_model(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        models = {
            "small": model_table(them.small, **CHEAP, model="tiny"),
            "large": model_table(them.large),
        }
        config = {"default_model": "auto", "models": models, "store": "memory://"}
        with Session(config, check=False) as session:
            assert session.complete(EASY).model == "small"
        with pytest.raises(ConfigError, match="no model"):
            Session({**config, "default_model": "autoo"}, check=False)


# -- frames


def test_a_frame_splits_and_says_so(tmp_path: Path) -> None:
    texts = [f"{EASY} {i}" for i in range(20)] + [f"{HARD} {i}" for i in range(20)]
    with house(tmp_path) as them:
        them.session()
        frame = sw.frame({"text": texts}).with_columns(a=sw.map("{text}", model="auto"))
        explained = str(frame.explain())
        assert "small" in explained
        assert "large" in explained
        run = frame.run()
        assert run.table["a"].to_list() == ["from small"] * 20 + ["from large"] * 20
        assert run.notes["auto: answered by 'small'"] == 20
        assert {m: c.calls for m, c in run.by_model.items()} == {"small": 20, "large": 20}
        again = frame.run()
        assert again.metrics.calls == 0
        assert {m: c.cached for m, c in again.by_model.items()} == {"small": 20, "large": 20}
        assert them.asked == (20, 20)


def test_permuted_and_repeated_rows_are_decided_alike(tmp_path: Path) -> None:
    texts = prompts(150)
    with house(tmp_path) as them:
        them.session(explore=0.2)
        ask = sw.map("{text}", model="auto")
        first = sw.frame({"text": texts}).with_columns(a=ask).collect()
        mixed = texts[::-1] + texts[:50]
        second = sw.frame({"text": mixed}).with_columns(a=ask).collect()
        known = dict(zip(first["text"], first["a"], strict=True))
        assert [known[t] for t in second["text"]] == second["a"].to_list()
        assert sum(them.asked) == 150


def test_routers_that_embed_decide_in_frames_too_and_pay_once(tmp_path: Path) -> None:
    texts = prompts(40)
    with house(tmp_path) as them:
        router = trained(texts, "neighbours")
        save(router, tmp_path / "my.router")
        them.session(artifact="my.router")
        frame = sw.frame({"text": texts * 2}).with_columns(a=sw.map("{text}", model="auto"))
        run = frame.run()
        assert run.errors.is_empty()
        calls = ledger(sw.session.current())
        answers = [c for c in calls if c["label"] == "a"]
        assert len(answers) == 40
        assert {c["route"] for c in answers} == {"auto"}
        embedded = [c for c in calls if c["label"] == "route"]
        assert 1 <= len(embedded) < 20  # texts wanted together go together
        asked = them.asked
        assert frame.run().metrics.calls == 0
        assert them.asked == asked


def test_a_decision_takes_less_than_two_milliseconds(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        session.engine.lookup([request(HARD)])
        texts = prompts(300, seed=5)
        began = time.process_time()
        for text in texts:
            session.engine.lookup([request(text)])
        each = (time.process_time() - began) / len(texts)
        began = time.process_time()
        session.engine.lookup([request(text) for text in prompts(2000, seed=6)])
        together = (time.process_time() - began) / 2000
        assert each < 2e-3
        assert together < each


# -- when a model is out


def test_a_model_that_is_down_is_stepped_in_for(tmp_path: Path) -> None:
    down = OpenAIServer(faults=[Fault("500")])
    with house(tmp_path, small=down) as them:
        session = them.session(small={"deadline": 0.5})
        reply = session.complete(EASY, model="auto")
        assert (reply.model, reply.text) == ("large", "from large")
        assert any("'large' stepped in for 'small'" in note for note in reply.notes)
        row = ledger(session)[-1]
        assert (row["model"], row["wanted"], row["route"]) == ("large", "small", "auto")


def test_a_prompt_too_long_for_the_weak_model_goes_to_the_strong(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session(small={"context_window": 100})
        reply = session.complete("word " * 2000, model="auto:share=0")
        assert reply.model == "large"
        assert them.asked == (0, 1)


def test_a_stream_is_routed_and_names_its_model(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        chunks = list(session.stream(EASY, model="auto"))
        assert chunks[0].model == "small"
        assert "".join(c.text for c in chunks) == "from small"
        assert chunks[-1].completion is not None
        assert chunks[-1].completion.model == "small"


# -- learning on


def test_exploring_and_shadows_are_off_unless_asked_for(tmp_path: Path) -> None:
    texts = [f"{EASY} {i}" for i in range(60)]
    with house(tmp_path) as them:
        session = them.session()
        sw.frame({"text": texts}).with_columns(a=sw.map("{text}", model="auto")).collect()
        assert them.asked == (60, 0)
        assert {row["route_why"] for row in ledger(session)} == {"score"}


def test_a_share_is_explored_and_recorded(tmp_path: Path) -> None:
    texts = [f"{EASY} {i}" for i in range(200)]
    with house(tmp_path) as them:
        session = them.session(explore=0.25)
        sw.frame({"text": texts}).with_columns(a=sw.map("{text}", model="auto")).collect()
        explored = [row for row in ledger(session) if row["route_why"] == "explore"]
        assert them.asked == (200 - len(explored), len(explored))
        assert 30 <= len(explored) <= 72  # of 200, by 0.25: four standard deviations
        assert all(row["model"] == "large" for row in explored)


def test_shadow_calls_ask_the_other_model_within_their_budget(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session(shadow=1.0)
        replies = [session.complete(f"{EASY} {i}", model="auto") for i in range(5)]
        assert {reply.model for reply in replies} == {"small"}
        _until(lambda: them.asked == (5, 5))
        _until(lambda: len(ledger(session)) == 10)
        shadows = [row for row in ledger(session) if row["route_why"] == "shadow"]
        assert {row["model"] for row in shadows} == {"large"}
        assert session.complete(f"{EASY} 0", model="large").cached  # kept, to compare with
        poor = them.session(shadow=1.0, shadow_budget=0.0)
        assert poor.complete("Say good-bye.", model="auto").model == "small"
        time.sleep(0.1)
        assert them.asked == (6, 5)


def test_a_failing_shadow_disturbs_nobody(tmp_path: Path) -> None:
    with house(tmp_path, large=OpenAIServer(faults=[Fault("unauthorized")])) as them:
        session = them.session(shadow=1.0)
        assert session.complete(EASY, model="auto").text == "from small"
        _until(lambda: len(ledger(session)) == 2)
        assert session.complete(EASY + "!", model="auto").text == "from small"


def _until(done: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
