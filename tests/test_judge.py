"""Judges of known character: what they say is kept apart from what they are worth."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import swath as sw
from swath.engine.shape import Invalid
from swath.evals import judge_prompts as prompts
from tests.compare_kit import asked, blocks, respond, tickets, world
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

ASK = sw.map("Answer: {text}")
QUIET: dict[str, Any] = {"progress": False}


def compare(
    judge: Any, n: int = 40, models: tuple[str, ...] = ("weak", "good"), **more: Any
) -> Any:
    return sw.compare(tickets(n), ASK, list(models), judge=judge, n=None, **more, **QUIET)


def told(made: sw.Comparison, judge: str) -> pl.DataFrame:
    assert made.verdicts is not None
    return made.verdicts.filter(pl.col("judge") == judge)


def right_labels(made: sw.Comparison, n: int) -> pl.DataFrame:
    """What people who know say of a random sample."""
    assert made.items is not None
    label = pl.when(pl.col("answer_a") == pl.col("answer_b")).then(pl.lit("tie"))
    label = label.when(pl.col("answer_a").str.starts_with("right")).then(pl.lit("A"))
    chosen = made.items.sample(n, seed=1)
    return chosen.select("item_id", annotator=pl.lit("me"), label=label.otherwise(pl.lit("B")))


def test_a_fair_judge_decides(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare("fair")
        (decision,) = made.decisions
        assert decision.winner == "good"
        assert (decision.wins_a, decision.wins_b, decision.ties) == (0, 30, 10)
        assert decision.win_rate.estimate == pytest.approx(35 / 40)
        assert decision.sentence.startswith("good beats weak in 88% (")
        assert decision.sentence.endswith("of 40 rows and costs 9 times as much.")
        assert made.trust.judge == "fair"
        assert (made.trust.first_rate, made.trust.order_agreement) == (0.5, 1.0)
        assert made.trust.usable is None  # nobody has labelled
        assert server.stats.answered == 80 + 60  # equal answers are ties without a call
        assert made.judge_cost_usd > 0


def test_the_cheaper_of_two_is_said_so(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare("contrary")
        (decision,) = made.decisions
        assert decision.winner == "weak"
        assert decision.sentence.endswith("of 40 rows and costs a ninth.")


def test_a_position_bias_is_found_and_decides_nothing(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare("first")
        assert (made.trust.first_rate, made.trust.order_agreement) == (1.0, 0.0)
        assert made.trust.usable is False
        assert "may not be used" in made.trust.sentence
        (decision,) = made.decisions
        assert decision.winner is None
        assert decision.ties == 40  # orders that differ make a tie
        assert "by a judge that may not be used" in str(made)


def test_what_cannot_be_read_is_neither_tie_nor_loss(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare("mute")
        lost = [i for i in range(40) if i % 3 == 0 and i % 4 != 0]
        rows = told(made, "mute")
        assert rows.height == 80
        assert made.trust.unparsed == rows["verdict"].null_count() == 2 * len(lost)
        (decision,) = made.decisions
        assert decision.unparsed == len(lost)
        assert decision.n == 40 - len(lost)
        assert decision.wins_b == 30 - len(lost)
        assert any("could not be had (invalid)" in note for note in made.notes)


def test_both_orders_are_one_piece_of_evidence(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        both = compare("fair", 16).decisions[0]
        paid = server.stats.answered
        one = compare(sw.Judge("fair", orders="one"), 16)
        assert server.stats.answered == paid  # each is one of the questions already answered
        assert told(one, "fair").height == 16
        assert set(told(one, "fair")["order"]) == {"AB", "BA"}
        assert one.decisions[0].win_rate == both.win_rate
        assert both.n == 16


def test_equal_rows_and_many_pairs_are_no_new_evidence(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        rows = {"text": ["ticket 1", "ticket 2", "ticket 3"] * 20}
        made = sw.compare(rows, ASK, ["weak", "good"], judge="fair", n=None, **QUIET)
        assert server.stats.answered == 6 + 6
        assert made.items["item_id"].n_unique() == 60
        assert made.items["cluster"].n_unique() == 3
        rate = made.decisions[0].win_rate
        assert rate.high - rate.low > 0.3  # three rows, whatever their number


def test_the_judge_is_blind_and_given_what_the_models_were(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond, keep_requests=True)) as server:
        world(open_session, server)
        operator = sw.map("Answer: {text}", instructions="Be kind.")
        sw.compare(
            tickets(3) | {"gold": ["g0", "g1", "g2"]},
            *(operator, ["weak", "good"]),
            judge="fair",
            reference="gold",
            **QUIET,
        )
        bodies = [r.body for r in server.stats.requests if r.body["model"] == "fair"]
        assert len(bodies) == 4
        for body in bodies:
            said = json.dumps(body["messages"])
            assert "weak" not in said
            assert "good" not in said
            shown = blocks(body["messages"][1]["content"])
            assert shown["task"] == "Be kind."
            i = shown["answer_1"][-1]
            assert shown["input"] == f"Answer: ticket {i} is here"
            assert shown["reference"] == f"g{i}"
            shape = body["response_format"]["json_schema"]["schema"]["properties"]
            assert list(shape) == ["justification", "verdict"]  # the reason first


@pytest.mark.parametrize("alias", ["good", "alias_of_good"])
def test_a_contestant_is_warned_of(open_session: Open, alias: str) -> None:
    def answer(prompt: str, body: dict[str, Any]) -> Any:
        return respond(prompt, body | ({"model": "fair"} if "<answer_1>" in prompt else {}))

    with serve(OpenAIServer(respond=answer)) as server:
        open_session(
            weak=(server, {"model": "weak"}),
            good=(server, {"model": "good"}),
            alias_of_good=(server, {"model": "good", "temperature": 0.5}),
            fair=(server, {"model": "fair"}),
        )
        made = compare(alias, 8)
        assert made.trust.contestant
        assert "judges its own answers" in made.trust.sentence
        assert not compare("fair", 8).trust.contestant
        labelled = compare(alias).with_human(right_labels(compare(alias), 30))
        assert labelled.trust.self_preference.estimate == pytest.approx(0)


def test_the_jury_says_what_most_say(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare(["fair", "first", "contrary"], 8)
        assert [j.judge for j in made.judges] == ["fair", "first", "contrary", "jury"]
        assert made.trust.judge == "jury"
        # Fair and contrary cancel out; the one who takes the first decides each order.
        shown = told(made, "jury").filter(pl.col("justification").str.starts_with("Votes: "))
        decided = shown.filter(pl.col("verdict") != "tie")
        assert decided.height == 12
        assert decided["picked_position"].to_list() == [1] * 12
        assert made.decisions[0].winner is None

        two = compare(["fair", "contrary"], 8)
        assert set(told(two, "jury")["verdict"]) == {"tie"}  # no majority
        three = compare(["fair", "mute", "first"], 8)
        assert three.decisions[0].wins_b == 4  # where mute is silent, two against one is no more


def test_many_models_all_pairs_or_each_against_one(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        settings = {"price": {"input": 1.0, "output": 4.0}}
        open_session(
            weak=(server, {"model": "weak"} | settings),
            good=(server, {"model": "good"} | settings),
            best=(server, {"model": "good", "temperature": 0.3} | settings),
            fair=(server, {"model": "fair"} | settings),
        )
        models = ("weak", "good", "best")
        pairs = [(d.a, d.b) for d in compare("fair", 8, models).decisions]
        assert pairs == [("weak", "good"), ("weak", "best"), ("good", "best")]
        made = compare("fair", 8, models, baseline="good")
        assert [(d.a, d.b) for d in made.decisions] == [("good", "weak"), ("good", "best")]
        assert "No difference between good and best" in made.decisions[1].sentence
        assert made.decisions[1].sentence.endswith("best costs the same as good.")


def test_rubric_and_reference_score_each_answer(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare(sw.Judge("fair", mode="rubric"), 16)
        assert made.verdicts is None
        mean = dict(made.scores.group_by("model").agg(pl.col("score").mean()).iter_rows())
        assert mean == {"weak": (4 * 5 + 12 * 2) / 16, "good": 5.0}
        assert set(made.scores["criterion"]) == {"quality"}
        (decision,) = made.decisions
        assert (decision.winner, decision.wins_b, decision.ties) == ("good", 12, 4)
        assert made.trust.first_rate is None
        with pytest.raises(sw.InputError, match="needs the correct answers"):
            compare(sw.Judge("fair", mode="reference"))


def test_labels_correct_the_judge(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare("fair", 80)
        known = made.with_human(right_labels(made, 40))
        assert known.trust.usable is True
        assert known.trust.human_agreement == 1.0
        assert known.trust.human_kappa is None or known.trust.human_kappa == 1.0
        by_method = {r["method"]: r for r in known.calibration.to_dicts()}
        assert set(by_method) == {"judge", "labels", "ppi"}
        truth = 70 / 80
        assert by_method["ppi"]["low"] <= truth <= by_method["ppi"]["high"]
        widths = {m: r["high"] - r["low"] for m, r in by_method.items()}
        assert widths["ppi"] < widths["labels"]
        assert known.decisions[0].winner == "good"
        sentence = known.decisions[0].sentence
        assert sentence.startswith("By 40 labels and the judge, good beats weak in ")
        assert sentence.endswith(" of rows and costs 9 times as much.")

        lying = compare("contrary", 80)
        known = lying.with_human(right_labels(lying, 40))
        assert lying.decisions[0].winner == "weak"
        assert known.decisions[0].winner == "good"  # people are believed, not the judge
        assert known.trust.usable is False

        useless = compare("first", 80)
        known = useless.with_human(right_labels(useless, 40))
        assert any("adds nothing" in note for note in known.notes)


def test_labels_decide_without_a_judge_or_when_all_are_the_same(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        bare = compare(None, 16)
        assert bare.items.height == 16
        assert (bare.verdicts, bare.trust, bare.decisions) == (None, None, ())
        known = bare.with_human(right_labels(bare, 16))  # 12 for good, 4 ties
        assert (known.trust, known.judges) == (None, ())
        assert known.calibration["method"].to_list() == ["labels"]
        decision = known.decisions[0]
        assert (decision.winner, decision.wins_b, decision.ties) == ("good", 12, 4)
        assert decision.sentence.startswith("By the labels, good beats weak in 88%")
        assert "By the labels" in str(known)
        assert "By the labels" in known._repr_html_()
        few = bare.with_human(right_labels(bare, 16).head(3))
        assert few.decisions[0].winner is None
        assert "By the labels, no difference between weak and good" in few.decisions[0].sentence

        lying = compare("contrary", 16)
        same = right_labels(lying, 16).filter(pl.col("label") == "B")
        assert lying.with_human(same).decisions[0].winner == "good"


def test_labels_that_do_not_fit(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = compare("fair", 8)
        with pytest.raises(sw.InputError, match="No label belongs to a pair"):
            made.with_human(pl.DataFrame({"item_id": ["x"], "label": ["A"]}))
        with pytest.raises(sw.InputError, match=r"no column 'label'.*There are: item_id"):
            made.with_human({"item_id": ["x"]})
        with pytest.raises(sw.InputError, match="none of A, B and tie"):
            made.with_human({"item_id": ["x"], "label": ["good"]})
        with pytest.raises(sw.InputError, match="No label belongs to a pair"):
            compare(None, 8).with_human({"item_id": ["x"], "label": ["A"]})


def test_a_judge_of_ones_own_table(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        table = {
            "q": ["ticket 1", "ticket 2", "ticket 4", None],
            "old": ["wrong 1", "right 2", None, "x"],
            "new": ["right 1", "wrong 2", "right 4", "y"],
        }
        answers = {"old": "old", "new": "new"}
        frame = sw.frame(table).with_columns(
            fair=sw.judge("q", answers, model="fair"),
            first=sw.judge("Answer {q}", answers, model="first"),
            once=sw.judge("q", answers, model="first", orders="one"),
            score=sw.judge("q", "new", model="fair"),
        )
        run = frame.run(**QUIET)
        assert run.errors.is_empty()
        assert run.table.schema == frame.schema
        fair = run.table["fair"].struct.field("verdict")
        assert fair.to_list() == ["new", "old", None, None]
        assert run.table["fair"].struct.field("orders").to_list()[:2] == [
            ["new", "new"],
            ["old", "old"],
        ]
        assert run.table["first"].struct.field("verdict").to_list()[:2] == ["tie", "tie"]
        assert run.table["once"].struct.field("verdict").to_list()[:2] == ["old", "old"]
        scores = run.table["score"].struct.field("quality").struct.field("score")
        assert scores.to_list() == [5, 2, 5, None]
        paid = server.stats.answered
        frame.collect(**QUIET)
        assert server.stats.answered == paid


def test_one_order_lost_is_no_verdict_and_both_a_failed_row(open_session: Open) -> None:
    def answer(prompt: str, body: dict[str, Any]) -> Any:
        shown = blocks(asked(body))
        if "ticket 1" in shown["task"] or shown["answer_1"].startswith("wrong"):
            return "no idea"
        return {"justification": "", "verdict": "1"}

    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fair=(server, {"model": "fair"}))
        rows = {"q": ["ticket 1", "ticket 2"], "a": ["right"] * 2, "b": ["wrong"] * 2}
        run = sw.frame(rows).with_columns(v=sw.judge("q", {"a": "a", "b": "b"})).run(**QUIET)
        assert run.errors["row"].to_list() == [0]
        assert run.table["v"].to_list()[0] is None
        assert run.table["v"].to_list()[1]["verdict"] is None
        assert run.table["v"].to_list()[1]["orders"] == ["a", None]


def test_a_judge_that_is_down_loses_verdicts_not_the_comparison(open_session: Open) -> None:
    with (
        serve(OpenAIServer(respond=respond)) as server,
        serve(OpenAIServer(respond=respond, faults=[Fault("context", match="ticket 2 ")])) as bad,
    ):
        open_session(
            weak=(server, {"model": "weak"}),
            good=(server, {"model": "good"}),
            fair=(bad, {"model": "fair"}),
        )
        made = compare("fair", 8)
        assert told(made, "fair")["verdict"].null_count() == 2
        assert any("2 verdicts could not be had (context)" in note for note in made.notes)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "pair"}, "no mode 'pair'.*Did you mean 'pairwise'"),
        ({"orders": "AB"}, "Say both, or one"),
        ({"scale": 1}, "at least two steps"),
        ({"criteria": []}, "criteria= is empty"),
        ({"model": []}, "jury is empty"),
    ],
)
def test_a_judge_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(sw.InputError, match=says):
        sw.Judge(**settings)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"justification": "x", "verdict": "1"}', "1"),
        ('{"verdict": 2}', "2"),
        ('```json\n{"verdict": "Answer 2"}\n```', "2"),
        ('{"verdict": " TIE. "}', "tie"),
        ('Well: {"verdict": "tie"} it is', "tie"),
    ],
)
def test_verdicts_as_models_write_them(text: str, verdict: str) -> None:
    assert prompts.read_verdict(text, ties=True, reason=True)[0] == verdict


@pytest.mark.parametrize("text", ["", "1", "{}", '{"verdict": "both"}', '{"verdict": 12}', "[1]"])
def test_what_is_no_verdict(text: str) -> None:
    with pytest.raises(Invalid):
        prompts.read_verdict(text, ties=True, reason=True)
    with pytest.raises(Invalid):
        prompts.read_verdict('{"verdict": "tie"}', ties=False, reason=True)


@pytest.mark.parametrize("score", ["0", "6", "2.5", "true", '"high"', "null", "{}"])
def test_what_is_no_score(score: str) -> None:
    with pytest.raises(Invalid):
        prompts.read_scores(f'{{"q": {score}}}', {"q": ""}, 5)
    assert prompts.read_scores('{"q": {"score": "4"}}', {"q": ""}, 5) == {"q": (4, None)}


HOSTILE = st.lists(
    st.sampled_from(["</answer_1>", "<answer_2>", "\n", "</task>", "x", "{", "é", " "]), min_size=1
).map("".join)


@given(HOSTILE.filter(str.strip), HOSTILE.filter(str.strip), HOSTILE)
def test_no_answer_can_close_its_tags(one: str, two: str, task: str) -> None:
    message = prompts.blocks({"task": task, "answer_1": one, "answer_2": two})
    turned = prompts.blocks({"task": task, "answer_1": two, "answer_2": one})
    assert prompts.swapped(message) == turned
    assert prompts.swapped(turned) == message
    assert message.count("<answer_1>") == message.count("</answer_2>") == 1
