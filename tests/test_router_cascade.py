"""Cascades: the decision against brute force, what is seen of answers, the verifier, the rates."""

from __future__ import annotations

import math
from itertools import combinations, product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swath.errors import InputError
from swath.evidence import EVIDENCE, agreement, evidence, measured
from swath.messages import Completion, TokenLogprob
from swath.routing.artifact import ArtifactError, load, save, to_bytes
from swath.routing.cascade import Cascade
from swath.routing.cascade_decide import (
    STOP,
    Floats,
    by_reservation,
    by_supermodel,
    expected_best,
    play,
    rate_for_budget,
    rate_for_quality,
    reservation,
)
from swath.routing.decide import by_value
from swath.routing.graded import Graded
from swath.routing.training import train
from tests.router_kit import graded, prompts

SHARES = st.integers(0, 100).map(lambda n: n / 100)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Floats, Floats, float]:
    """Beliefs (1, m, K), costs (m,) and a rate."""
    m, k = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    belief = draw(st.lists(SHARES, min_size=m * k, max_size=m * k))
    cost = draw(st.lists(SHARES, min_size=m, max_size=m))
    rate = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]))
    return np.array(belief).reshape(1, m, k), np.array(cost), rate


# -- the decision


@given(problems())
def test_at_its_reservation_value_a_model_is_just_worth_its_price(
    problem: tuple[Floats, Floats, float],
) -> None:
    belief, cost, rate = problem
    z = reservation(belief, cost, rate)
    gain = np.maximum(belief - z[:, :, None], 0).mean(axis=2)
    np.testing.assert_allclose(gain, rate * np.broadcast_to(cost, z.shape), atol=1e-9)


@given(problems(), SHARES)
def test_the_expected_best_is_the_mean_over_all_outcomes(
    problem: tuple[Floats, Floats, float], best: float
) -> None:
    belief = problem[0]
    mean = np.mean([max(best, *drawn) for drawn in product(*belief[0])])
    assert expected_best(np.array([best]), belief)[0] == pytest.approx(mean)


@given(problems())
def test_no_way_of_asking_is_better_than_the_rule(problem: tuple[Floats, Floats, float]) -> None:
    belief, cost, rate = problem

    def best_of(seen: dict[int, float]) -> float:
        """What the best of all policies is worth from here on: every choice at every step."""
        ways = [max(seen.values())] if seen else []
        for i in range(len(cost)):
            if i not in seen:
                then = np.mean([best_of({**seen, i: atom}) for atom in belief[0, i].tolist()])
                ways.append(float(then - rate * cost[i]))
        return max(ways)

    def ruled(seen: dict[int, float]) -> float:
        row = np.array([[seen.get(i, np.nan) for i in range(len(cost))]])
        chosen = int(by_reservation(row, belief, cost, rate)[0])
        if chosen == STOP:
            return max(seen.values())
        then = np.mean([ruled({**seen, chosen: atom}) for atom in belief[0, chosen].tolist()])
        return float(then - rate * cost[chosen])

    assert ruled({}) == pytest.approx(best_of({}), abs=1e-9)


@given(problems(), st.lists(st.none() | SHARES, min_size=3, max_size=3))
def test_supermodels_are_the_best_of_all_sets(
    problem: tuple[Floats, Floats, float], values: list[float | None]
) -> None:
    belief, cost, rate = problem
    m = len(cost)
    seen = np.array([[np.nan if v is None else v for v in values[:m]]])
    free = [i for i in range(m) if values[i] is None]
    best = max((v for v in values[:m] if v is not None), default=-1.0)
    worth: dict[tuple[int, ...], float] = {(): best}
    for size in range(1, len(free) + 1):
        for some in combinations(free, size):
            mean = np.mean([max(best, *drawn) for drawn in product(*belief[0, list(some)])])
            worth[some] = float(mean) - rate * cost[list(some)].sum()
    if len(free) == m:
        del worth[()]
    top = max(worth.values())
    fits = [some for some, value in worth.items() if value >= top - 1e-9]
    chosen = int(by_supermodel(seen, belief, cost, rate)[0])
    cheapest = {i for some in fits for i in some if cost[i] == cost[list(some)].min()}
    assert chosen in cheapest | ({STOP} if () in fits else set())


@given(problems())
def test_where_answers_cannot_be_judged_it_is_routing(
    problem: tuple[Floats, Floats, float],
) -> None:
    belief, cost, rate = problem
    sure = belief[:, :, :1]
    played = play(lambda seen: sure, np.full(sure.shape[:2], np.nan), cost, rate)
    assert played.asked.sum() == 1
    quality = sure[:, :, 0]
    value = quality - rate * cost
    assert value[0, played.answer[0]] == pytest.approx(
        value[0, by_value(quality, cost, rate)[0]], abs=1e-9
    )


def test_shapes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        by_reservation(np.full((1, 2), np.nan), np.zeros((1, 2, 3)), np.zeros(3), 1.0)
    with pytest.raises(InputError, match="too many"):
        by_supermodel(np.full((1, 13), np.nan), np.zeros((1, 13, 1)), np.zeros(13), 1.0)


class World:
    """n prompts, three models. In logits, quality is ability less difficulty, which is known
    beforehand, and something that is seen of the answer only."""

    COST = np.array([8.0, 12.0, 20.0])

    def __init__(self, seed: int, n: int = 1000) -> None:
        rng = np.random.default_rng(seed)
        known, shown = rng.normal(0, 2.0, (n, 1)), rng.normal(0, 1.5, (n, 3))
        logit = np.array([0.2, 1.0, 2.0]) - known + shown
        atoms = np.quantile(rng.normal(0, 1.5, 4000), (np.arange(15) + 0.5) / 15)
        self.belief = 1 / (1 + np.exp(-((logit - shown)[:, :, None] + atoms)))
        # Graded by what can be known at best: right or wrong would add noise and nothing else.
        self.looks = self.quality = 1 / (1 + np.exp(-logit))
        self.n = n

    def frontier(self, looks: Floats, belief: Floats, order: bool = False) -> tuple[Floats, Floats]:
        """Mean costs and qualities over rates; in a fixed order of models where `order`."""
        costs, qualities = [], []
        for rate in np.geomspace(1e-4, 0.2, 25):
            rule = _in_order if order else by_reservation
            played = play(lambda seen: belief, looks, self.COST, float(rate), rule)
            costs.append(played.cost(self.COST))
            qualities.append(played.quality(self.quality))
        kept = np.argsort(costs)
        return np.array(costs)[kept], np.maximum.accumulate(np.array(qualities)[kept])


def _in_order(seen: Floats, belief: Floats, cost: Floats, rate: float) -> np.ndarray:
    """Cascading alone: from the cheapest upwards, never past one, while the next is worth it."""
    count = (~np.isnan(seen)).sum(axis=1)
    nxt = np.minimum(count, cost.shape[-1] - 1)
    best = np.where(np.isnan(seen), -np.inf, seen).max(axis=1)
    rows = np.arange(len(seen))
    gain = np.maximum(belief[rows, nxt] - best[:, None], 0).mean(axis=1)
    cost = np.broadcast_to(cost, seen.shape)
    on = (count == 0) | ((count < cost.shape[1]) & (gain > rate * cost[rows, nxt]))
    return np.where(on, nxt, STOP)


def test_together_they_beat_routing_alone_and_cascading_alone_at_equal_cost() -> None:
    """Six seeds, 1,000 prompts each, at five costs: never worse by more than chance, better on
    average."""
    budgets = np.array([9.0, 11.0, 13.0, 15.0, 18.0])
    over_routing, over_cascading = [], []
    for seed in range(6):
        world = World(seed)
        both = np.interp(budgets, *world.frontier(world.looks, world.belief))
        flat = world.belief.mean(axis=2, keepdims=True)
        alone = np.interp(budgets, *world.frontier(np.full((world.n, 3), np.nan), flat))
        fixed = np.interp(budgets, *world.frontier(world.looks, world.belief, order=True))
        over_routing.append(both - alone)
        over_cascading.append(both - fixed)
    routing, cascading = np.array(over_routing), np.array(over_cascading)
    assert routing.min() > -0.003
    assert cascading.min() > -0.003
    assert routing.mean() > 0.01
    assert cascading.mean() > 0.003


def test_rates_are_monotone_in_their_goal_and_keep_it() -> None:
    world = World(0, 800)

    def beliefs(seen: Floats) -> Floats:
        return world.belief

    best = world.quality.mean(axis=0).max()
    last = math.inf
    for share in (0.5, 0.8, 0.9, 0.95, 1.0):
        rate = rate_for_quality(beliefs, world.looks, world.quality, world.COST, share * best)
        assert rate <= last
        last = rate
        played = play(beliefs, world.looks, world.COST, rate)
        assert played.quality(world.quality) >= share * best
    last = math.inf
    for budget in (8.0, 10.0, 13.0, 20.0, 60.0):
        rate = rate_for_budget(beliefs, world.looks, world.COST, budget)
        assert rate <= last
        last = rate
        assert play(beliefs, world.looks, world.COST, rate).cost(world.COST) <= budget + 1e-9
    with pytest.raises(InputError, match=r"at most \$0.5"):
        rate_for_budget(beliefs, world.looks, world.COST, 0.5)


# -- what is seen of answers


@pytest.mark.parametrize(
    ("texts", "share", "first"),
    [
        (["billing", " Billing.", "BILLING"], 1.0, 0),
        (["1,200", "1200.0", "1200"], 1.0, 0),
        (['{"a": 1, "b": 2}', '{"b":2,"a":1}', '{"a": 3}'], 2 / 3, 0),
        (["no", "yes", "yes"], 2 / 3, 1),
        (["a", "b", "c"], 1 / 3, 0),
        (["12", "13"], 0.5, 0),
        (["alone"], 1.0, 0),
        (["", ""], 1.0, 0),
    ],
)
def test_samples_agree_where_they_say_the_same(texts: list[str], share: float, first: int) -> None:
    found, place = agreement(texts)
    assert found == pytest.approx(share)
    assert place == first


def test_longer_texts_agree_by_their_words() -> None:
    one = "The train is late because there is snow on the tracks near the old bridge."
    like = "The train is late since there is snow on the tracks near the bridge."
    other = "Please restart your computer and then install all of the updates once more."
    near, far = agreement([one, like])[0], agreement([one, other])[0]
    assert 0.9 < near < 1.0
    assert 0.5 <= far < 0.65
    assert agreement([other, one, like])[1] in (1, 2)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_agreement_is_a_share_and_does_not_depend_on_order(texts: list[str]) -> None:
    share, place = agreement(texts)
    assert 1 / len(texts) - 1e-9 <= share <= 1 + 1e-9
    assert agreement(texts[::-1])[0] == pytest.approx(share)
    assert 0 <= place < len(texts)


def test_a_live_answer_and_a_row_of_a_table_show_the_same() -> None:
    logprobs = tuple(TokenLogprob("x", p) for p in (-0.1, -0.2, -3.0, -0.1, -0.1, -0.4))
    text = "I am not sure: the train, maybe at nine."
    reply = Completion(text=text, finish="length", logprobs=logprobs)
    live = evidence("When does the train leave?", reply, 2 / 3)
    assert set(live) == set(EVIDENCE)
    row = {
        "prompt": "When does the train leave?",
        "answer": text,
        "finish": "length",
        "sure": math.exp(-3.9 / 6),
        "least": math.exp(-3.0),
        "first": math.exp(-3.5 / 5),
        "agreement": 2 / 3,
    }
    table = measured(pl.DataFrame([row]))
    assert {name: table[name][0] for name in table.columns} == pytest.approx(live)
    assert (live["hedged"], live["cut"]) == (1.0, 1.0)
    assert evidence("p", Completion(text="yes")).keys() == {"words", "hedged", "overlap", "cut"}
    assert measured(pl.DataFrame({"prompt": ["p"], "model": ["m"]})).columns == []


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("sure", 1.5, "'sure'"), ("agreement", "high", "'agreement'"), ("cost", -1.0, "'cost'")],
)
def test_evidence_out_of_range_names_its_column(column: str, value: object, says: str) -> None:
    table = graded(30).with_columns(pl.lit(value).alias(column))
    with pytest.raises(InputError, match=says):
        Graded.read(table)


# -- the kind


def answered(
    count: int = 400, seed: int = 0, names: tuple[str, ...] = ("tiny", "large")
) -> pl.DataFrame:
    """Graded answers that show how good they are: surer, longer and more agreed on where right."""
    table = graded(count, seed, names)
    rng = np.random.default_rng(seed + 7)
    good = table["quality"].to_numpy()
    sure = np.clip(0.55 + 0.3 * good + rng.normal(0, 0.15, len(good)), 0.01, 1)
    agreed = rng.binomial(3, np.where(good > 0, 0.85, 0.4)) / 3
    words = np.where(rng.random(len(good)) < 0.3 + 0.4 * good, "It is so.", "I am not sure.")
    return table.with_columns(
        sure=pl.Series(sure),
        agreement=pl.Series(agreed),
        answer=pl.Series(words.tolist()),
        cost=pl.when(pl.col("model") == "large").then(0.01).otherwise(0.001),
    )


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    made = train(answered(), "cascade")
    assert isinstance(made, Cascade)
    return made


def test_the_verifier_tells_good_answers_from_bad_ones(cascade: Cascade) -> None:
    held = Graded.read(answered(300, seed=50))
    ante = cascade.predict(held.prompts)
    place = cascade.models.index("tiny")
    shown = [
        {name: float(held.extra[name][i, place]) for name in held.extra if name != "cost"}
        for i in range(len(held))
    ]
    looks = np.array(
        [cascade.judge(float(ante[i, place]), place, shown[i]) for i in range(len(held))]
    )
    good = held.quality[:, place]
    before, after = (np.mean((x - good) ** 2) for x in (ante[:, place], looks))
    assert after < 0.75 * before
    assert abs(looks.mean() - good.mean()) < 0.08  # calibrated in the large
    assert looks[good == 1].mean() > looks[good == 0].mean() + 0.3


def test_an_answer_of_which_nothing_is_known_is_not_judged(cascade: Cascade) -> None:
    assert math.isnan(cascade.judge(0.5, 0, {}))
    plain = train(graded(120, models=("tiny", "large")), "cascade")
    assert isinstance(plain, Cascade)
    assert math.isnan(plain.judge(0.5, 0, {"sure": -0.1}))
    assert "no answers to learn a verifier from" in plain.notes[0]
    assert cascade.notes == ()


def test_a_rate_fitted_to_quality_keeps_it_on_prompts_not_seen(cascade: Cascade) -> None:
    held = Graded.read(answered(800, seed=90))
    ante = cascade.predict(held.prompts)
    names = [n for n in EVIDENCE if n in held.extra]
    looks = np.array(
        [
            [
                cascade.judge(float(ante[i, k]), k, {n: float(held.extra[n][i, k]) for n in names})
                for k in range(2)
            ]
            for i in range(len(held))
        ]
    )
    cost = cascade.costs
    assert dict(zip(cascade.models, cost, strict=True)) == {
        "tiny": pytest.approx(0.001),
        "large": pytest.approx(0.01),
    }
    strong = held.quality.mean(axis=0).max()
    spent = {}
    for target in (0.8, 1.0):
        rate = cascade.rate(cost, quality=target)
        played = play(cascade.beliefs(ante), looks, cost, rate)
        assert played.quality(held.quality) > target * strong - 0.04
        spent[target] = played.cost(cost)
    assert spent[0.8] < spent[1.0] < 0.9 * cost.max()
    few = play(cascade.beliefs(ante), looks, cost, cascade.rate(cost, budget=0.003))
    assert few.cost(cost) == pytest.approx(0.003, rel=0.3)


def test_the_verifier_survives_the_file(cascade: Cascade, tmp_path: Path) -> None:
    again = load(save(cascade, tmp_path / "c.router"))
    assert isinstance(again, Cascade)
    assert to_bytes(again) == to_bytes(cascade)
    shown = {"sure": -0.4, "agreement": 1.0}
    assert again.judge(0.6, 0, shown) == cascade.judge(0.6, 0, shown)
    assert again.rate(cascade.costs, quality=0.9) == cascade.rate(cascade.costs, quality=0.9)
    broken = load(tmp_path / "c.router")
    assert isinstance(broken, Cascade)
    broken.weights = broken.weights[:, :3]
    with pytest.raises(ArtifactError, match="weights"):
        load(save(broken, tmp_path / "broken.router"))


def test_order_of_rows_changes_nothing_of_the_verifier() -> None:
    table = answered(120, names=("tiny", "small", "large"))
    mixed = table.sample(fraction=1.0, shuffle=True, seed=4)
    assert to_bytes(train(table, "cascade")) == to_bytes(train(mixed, "cascade"))


def test_a_doubtful_answer_makes_the_prompt_look_harder_to_the_others() -> None:
    """Where what the answer shows is the prompt's own difficulty, others fail there too."""
    texts = prompts(600, seed=3)[0]
    rng = np.random.default_rng(1)
    hidden = rng.normal(0, 2, 600)
    rows = []
    for i, text in enumerate(texts):
        for name, able in (("tiny", 0.0), ("large", 1.0)):
            right = rng.random() < 1 / (1 + math.exp(-(able - hidden[i])))
            sure = 1 / (1 + math.exp(hidden[i] / 2))
            rows.append((text, name, float(right), sure if name == "tiny" else None))
    table = pl.DataFrame(rows, schema=["prompt", "model", "quality", "sure"], orient="row")
    made = train(table, "cascade")
    assert isinstance(made, Cascade)
    assert made.carry > 0.4
    place = made.models.index("tiny")
    ante = np.full((1, 2), 0.6)
    looks = np.full((1, 2), np.nan)
    looks[0, place] = 0.2
    belief = made.beliefs(ante)(looks)[0, 1 - place].mean()
    assert belief < 0.5


def test_too_few_graded_prompts_give_no_rate() -> None:
    made = train(graded(15), "cascade")
    assert isinstance(made, Cascade)
    with pytest.raises(InputError, match="every model answered"):
        made.rate(np.ones(4), quality=0.9)
