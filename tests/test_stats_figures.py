"""The published figures of shared/data/judge, from its rows."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from swath.evals.stats import agreement, pairwise, position, strength
from swath.evals.stats.favour import self_preference
from swath.evals.stats.ppi import tuned_ppi_mean
from swath.evals.stats.summarize import summarize
from swath.evals.stats.tables import majority
from swath.evals.stats.trust import compare_judges
from tests.stats_kit import figures, judge_data, llmbar, preferences, table

# -- LLMBar


def test_all_195_rows_of_llmbar() -> None:
    published = pl.read_csv(judge_data() / "llmbar_all_195.csv")
    by = ["subset", "judge", "strategy"]
    groups = summarize(table("llmbar_verdicts"), table("llmbar_items"), by=by, resamples=100)
    ours = pl.DataFrame([{k: v for k, v in g.items() if k != "more"} for g in groups])
    both = published.join(ours, on=by)
    assert both.height == published.height == 195
    for theirs, name in (("acc", "accuracy"), ("agr", "order_agreement")):
        assert (both[theirs] - 100 * both[name]).abs().max() < 1e-5, name
    assert both["null_verdicts"].to_list() == both["unparsed"].to_list()
    ordered = both.filter(~pl.col("strategy").str.starts_with("Rating"))
    assert ordered.height == 174
    assert (ordered["first_rate"] - 100 * ordered["first_rate_right"]).abs().max() < 1e-5
    rated = both.filter(pl.col("strategy").str.starts_with("Rating"))
    assert rated["first_rate_right"].null_count() == rated.height == 21


def test_kappa_of_the_two_orders_on_all_195() -> None:
    """The source counts an unparsed verdict as "not A" here."""
    published = pl.read_csv(judge_data() / "llmbar_all_195.csv")
    verdicts = table("llmbar_verdicts").with_columns(pl.col(pl.Categorical).cast(pl.String))
    with_subset = verdicts.join(table("llmbar_items").select("item_id", "subset"), on="item_id")
    wide = with_subset.with_columns(a=pl.col("verdict").eq_missing(pl.lit("A"))).pivot(
        on="order", index=["item_id", "subset", "judge", "strategy"], values="a"
    )
    for row in published.iter_rows(named=True):
        kept = wide.filter(*[pl.col(c) == row[c] for c in ("subset", "judge", "strategy")])
        kappa = agreement.cohen_kappa(kept["AB"].to_list(), kept["BA"].to_list())
        assert kappa == pytest.approx(row["kappa_orders"], abs=1e-6), row


@pytest.mark.parametrize(
    "name",
    [
        "Natural/GPT-4/Vanilla_NoRules",
        "Neighbor/GPT-4/Vanilla_NoRules",
        "Neighbor/GPT-4/Metrics_Reference",
        "Neighbor/ChatGPT/Vanilla_NoRules",
        "GPTInst/ChatGPT/Metrics_Reference",
        "GPTInst/GPT-4/Swap",
    ],
)
def test_llmbar_in_full(name: str) -> None:
    said = figures()["llmbar"][name]
    rows = llmbar(*name.split("/"))
    (found,) = summarize(rows, resamples=2000)
    accuracy = found["more"]["intervals"]["accuracy"]
    assert found["n"] == said["n_items"]
    assert found["accuracy"] == pytest.approx(said["acc_mean_of_orders"])
    assert found["order_agreement"] == pytest.approx(said["order_agreement"])
    assert found["first_rate"] == pytest.approx(said["first_position_rate"])
    assert accuracy["low"] == pytest.approx(said["boot95_by_item"][0], abs=0.012)
    assert accuracy["high"] == pytest.approx(said["boot95_by_item"][1], abs=0.012)
    gold = dict(rows.select("item_id", "gold").iter_rows())
    settled = position.settle(rows).with_columns(gold=pl.col("item_id").replace_strict(gold))
    outcome = {"correct": 0, "wrong": 0, "tie": 0}
    for verdict, right in settled.select("verdict", "gold").iter_rows():
        outcome["tie" if verdict == "tie" else "correct" if verdict == right else "wrong"] += 1
    assert outcome == said["both_orders_then_tie"]
    straight = rows.filter(pl.col("order") == "AB")
    kappa = agreement.cohen_kappa(straight["verdict"].to_list(), straight["gold"].to_list())
    assert kappa == pytest.approx(said["kappa_orderAB_vs_gold"])


@pytest.mark.parametrize(
    "name",
    [
        "Neighbor GPT-4 Metrics_Reference vs Vanilla_NoRules",
        "Natural GPT-4 Metrics_Reference vs Vanilla_NoRules",
        "Natural GPT-4 vs ChatGPT Vanilla_NoRules",
    ],
)
def test_two_judges_on_the_same_items(name: str) -> None:
    said = figures()["paired"][name]
    subset = name.split()[0]
    items = table("llmbar_items").filter(pl.col("subset") == subset)
    kept = table("llmbar_verdicts").filter(pl.col("item_id").is_in(items["item_id"].implode()))
    a, b = (dict(zip(("judge", "strategy"), said[k], strict=True)) for k in ("a", "b"))
    found = compare_judges(items, kept, first=b, second=a)
    assert found.difference.estimate == pytest.approx(said["diff"])
    assert found.se == pytest.approx(said["paired_se"])
    assert found.se < said["unpaired_se"]
    assert (found.second_better, found.first_better) == (
        said["items_a_better"],
        said["items_b_better"],
    )
    assert found.p == pytest.approx(said["sign_test_p"])
    assert found.difference.low == pytest.approx(said["boot95"][0], abs=0.01)
    assert found.difference.high == pytest.approx(said["boot95"][1], abs=0.01)


# -- PandaLM


def test_pandalm_annotators() -> None:
    human, said = table("pandalm_human"), figures()["pandalm"]
    wide = human.pivot(on="annotator", index="item_id", values="label")
    for pair, kappa in said["kappa"].items():
        a, b = pair.split("-")
        found = agreement.cohen_kappa(wide[a].to_list(), wide[b].to_list())
        assert found == pytest.approx(kappa, abs=1e-12)
    assert agreement.human_alpha(human) == pytest.approx(said["alpha_nominal"])
    counts = majority(human)["label"].value_counts()
    assert dict(counts.iter_rows()) == said["majority"] == {"tie": 105, "A": 422, "B": 472}
    each = human.group_by("item_id").agg(pl.col("label").n_unique() == 1)
    assert each["label"].mean() == pytest.approx(said["unanimous"])


def test_pandalm_judges() -> None:
    groups = summarize(
        table("pandalm_verdicts"),
        table("pandalm_items"),
        table("pandalm_human"),
        ["judge"],
        resamples=100,
    )
    for group in groups:
        said = figures()["pandalm"]["judges"][group["judge"]]
        assert group["unparsed"] == said["unparsed"]
        more = group["more"]
        assert more["majority_agreement"] == pytest.approx(said["acc_unparsed_wrong"])
    top = majority(table("pandalm_human"))
    as_tie = table("pandalm_verdicts").with_columns(pl.col("verdict").fill_null("tie"))
    for judge, said in figures()["pandalm"]["judges"].items():
        pairs = as_tie.filter(pl.col("judge") == judge).join(top, on="item_id")
        kappa = agreement.cohen_kappa(pairs["verdict"].to_list(), pairs["label"].to_list())
        assert kappa == pytest.approx(said["kappa_unparsed_as_tie"])


# -- LLMFAO


def test_59_bradley_terry_scores_from_human_votes() -> None:
    found = strength.bradley_terry(table("llmfao_items"), table("llmfao_human"), resamples=100)
    assert len(found) == 59
    assert sum(e.estimate for e in found.values()) == pytest.approx(1)
    for model, score in figures()["llmfao"]["human"]["bt_top10_sum1"].items():
        assert found[model].estimate == pytest.approx(score, abs=1e-6)
        assert found[model].low < score < found[model].high
    assert list(found)[:3] == list(figures()["llmfao"]["human"]["bt_top10_sum1"])[:3]


def test_the_59_scores_are_where_the_likelihood_is_highest() -> None:
    """Each model's wins are what its strength expects: the equation that defines the estimate."""
    items, human = table("llmfao_items"), table("llmfao_human")
    found = {m: e.estimate for m, e in strength.bradley_terry(items, human, resamples=1).items()}
    cast = pairwise.votes(items, human)
    p = pl.Series([found[m] for m in cast.models]).to_numpy()
    expected = p[cast.a] / (p[cast.a] + p[cast.b])
    for i, model in enumerate(cast.models):
        surplus = (cast.score - expected)[cast.a == i].sum()
        surplus -= (cast.score - expected)[cast.b == i].sum()
        assert surplus == pytest.approx(0, abs=1e-5), model


def test_llmfao_votes_and_judge() -> None:
    said = figures()["llmfao"]
    human, items = table("llmfao_human"), table("llmfao_items")
    assert agreement.human_alpha(human) == pytest.approx(said["human"]["alpha"])
    assert dict(majority(human)["label"].value_counts().iter_rows()) == said["human"]["maj"]
    first = position.first_rate(human.with_columns(order=pl.lit("AB")), resamples=100)
    assert first is not None
    assert first.estimate == pytest.approx(said["human"]["first_rate"])
    (found,) = summarize(table("llmfao_verdicts"), items, human, resamples=100)
    judge = said["gpt35"]
    assert found["n"] == judge["n"]
    assert found["first_rate"] == pytest.approx(judge["first_rate_decided"])
    more = found["more"]
    assert more["majority_agreement"] == pytest.approx(judge["agreement_vs_majority_3class"])
    assert more["majority_kappa"] == pytest.approx(judge["kappa_vs_majority_3class"])
    for model, score in judge["bt_top10_sum1"].items():
        assert found["bradley_terry"][model]["estimate"] == pytest.approx(score, abs=1e-6)
    decided = agreement.judge_with_human(table("llmfao_verdicts"), majority(human), ties=False)
    assert decided.height == judge["n_both_decided"]
    assert decided["same"].mean() == pytest.approx(judge["agreement_both_decided"])
    assert agreement.table_kappa(decided) == pytest.approx(judge["kappa_both_decided"])


@pytest.mark.parametrize(("model", "name"), [("GPT 4", "GPT4"), ("command", "command")])
@pytest.mark.parametrize(("unit", "kind"), [("item_id", "pair"), (None, "prompt")])
def test_human_win_rates_by_the_right_unit(
    model: str, name: str, unit: str | None, kind: str
) -> None:
    said = figures()["llmfao"][f"win_rate_{name}_human"]
    rates = pairwise.win_rates(
        table("llmfao_items"), table("llmfao_human"), unit=unit, resamples=2000
    )
    found = rates[model]
    assert found.estimate == pytest.approx(said["win_rate"])
    assert found.n == said[f"{kind}s"]
    assert found.low == pytest.approx(said[f"boot95_by_{kind}"][0], abs=0.012)
    assert found.high == pytest.approx(said[f"boot95_by_{kind}"][1], abs=0.012)


def test_rankings_of_people_and_judge() -> None:
    from scipy.stats import spearmanr

    items = table("llmfao_items")
    human = strength.bradley_terry(items, table("llmfao_human"), resamples=1)
    judge = strength.bradley_terry(items, table("llmfao_verdicts"), resamples=1)
    models = sorted(human)
    found = spearmanr([human[m].estimate for m in models], [judge[m].estimate for m in models])
    assert found.statistic == pytest.approx(figures()["llmfao"]["spearman_human_gpt35"], abs=1e-9)


# -- MT-Bench


def test_mtbench_agreements() -> None:
    said = figures()["mtbench_turn1"]
    verdicts, human = table("mtbench_verdicts"), table("mtbench_human")
    (found,) = summarize(verdicts, table("mtbench_items"), human, resamples=100)
    assert found["n"] == said["items"]
    assert found["human_agreement"] == pytest.approx(said["agree_gpt4_expert_with_ties"])
    assert found["human_kappa"] == pytest.approx(said["kappa_gpt4_expert_votes_3class"])
    assert found["more"]["label_with_label"] == pytest.approx(said["agree_expert_expert_with_ties"])
    assert 1 - found["order_agreement"] == pytest.approx(said["gpt4_inconsistent_rate"])
    assert found["first_rate"] is None
    experts = human.filter(pl.col("kind") == "expert")
    pairs = agreement.judge_with_human(verdicts, experts, ties=False)
    assert pairs.height == said["n_no_ties"]
    assert pairs["same"].mean() == pytest.approx(said["agree_gpt4_expert_no_ties"])
    people = agreement.human_with_human(experts, ties=False)
    assert people.height == said["n_pairs_no_ties"]
    assert people["same"].mean() == pytest.approx(said["agree_expert_expert_no_ties"])


def test_mtbench_strengths() -> None:
    items, said = table("mtbench_items"), figures()["mtbench_turn1"]
    for rows, name in ((table("mtbench_human"), "bt_human_sum1"), (None, "bt_gpt4_sum1")):
        rows = table("mtbench_verdicts") if rows is None else rows
        found = strength.bradley_terry(items, rows, resamples=100)
        assert {m: round(e.estimate, 6) for m, e in found.items()} == said[name]


# -- prediction-powered inference, self-preference, alphas


@pytest.mark.parametrize(("name", "key"), [("llmfao", "gpt35"), ("mtbench", None)])
def test_tuned_ppi(name: str, key: str | None) -> None:
    said: dict[str, Any] = figures()["mtbench_turn1"]["ppi"]
    if key is not None:
        said = figures()[name][key]["ppi"]
    both = preferences(table(f"{name}_verdicts"), table(f"{name}_human"))
    both = both.join(table(f"{name}_ppi_split"), on="item_id")
    known, rest = both.filter("labelled"), both.filter(~pl.col("labelled"))
    args = (known["human"].to_list(), known["judge"].to_list(), rest["judge"].to_list())
    assert (known.height, rest.height) == (said["n"], said["N"])
    for power, part in ((None, "tuned"), (1.0, "lam1"), (0.0, "classical")):
        found = tuned_ppi_mean(*args, power=power)
        assert found.estimate == pytest.approx(said[part]["point"])
        assert [found.low, found.high] == pytest.approx(said[part]["ci95"], abs=1e-7)
        alone = [found.labels.low, found.labels.high]
        assert alone == pytest.approx(said["classical"]["ci95"], abs=1e-7)
    assert tuned_ppi_mean(*args).judge == pytest.approx(said["judge_only"])


def test_ppi_of_a_model_through_summarize() -> None:
    """The split's labels only, both sides named as models: the figure comes out per model."""
    said = figures()["llmfao"]["gpt35"]["ppi"]["tuned"]
    split = table("llmfao_ppi_split").filter("labelled")
    human = table("llmfao_human").join(split.select("item_id"), on="item_id")
    sides = table("llmfao_items").with_columns(model_a=pl.lit("left"), model_b=pl.lit("right"))
    (found,) = summarize(table("llmfao_verdicts"), sides, human, resamples=100)
    left, right = found["ppi"]["left"], found["ppi"]["right"]
    assert left["estimate"] == pytest.approx(said["point"])
    assert [left["low"], left["high"]] == pytest.approx(said["ci95"], abs=1e-7)
    assert left["estimate"] + right["estimate"] == pytest.approx(1)
    assert "adds nothing" in found["more"]["ppi_notes"]["left"]


@pytest.mark.parametrize(
    ("name", "models", "key"),
    [
        ("llmfao", ("GPT 3.5 Turbo", "GPT 3.5 Turbo (16k)"), "self_preference"),
        ("llmfao", ("GPT 4",), "cross_gpt3_on_GPT4"),
        ("mtbench", ("gpt-4",), "self_preference_gpt4"),
    ],
)
def test_self_preference_against_people(name: str, models: tuple[str, ...], key: str) -> None:
    said = (figures()["mtbench_turn1"] if name == "mtbench" else figures()["llmfao"]["gpt35"])[key]
    tables = [table(f"{name}_{part}") for part in ("items", "verdicts", "human")]
    found = self_preference(*tables, models, unit="item_id")
    assert found.n == said["n_pairs"]
    assert found.judge_rate == pytest.approx(said["judge_rate"])
    assert found.human_rate == pytest.approx(said["human_rate"])
    assert found.gap.estimate == pytest.approx(said["diff"])
    assert found.se == pytest.approx(said["se"])


def test_the_gap_of_every_model() -> None:
    tables = [table(f"mtbench_{part}") for part in ("items", "verdicts", "human")]
    for model, said in figures()["mtbench_turn1"]["judge_minus_human_by_model"].items():
        found = self_preference(*tables, model, unit="item_id", resamples=100)
        assert (found.n, found.se) == (said["n"], pytest.approx(said["se"]))
        assert found.gap.estimate == pytest.approx(said["diff"])


def test_six_alphas() -> None:
    scores = table("recipe_human_scores")
    for criterion, said in figures()["recipe_alpha_ordinal"].items():
        ratings = scores.filter(pl.col("criterion") == criterion).group_by("item_id").agg("score")
        found = agreement.krippendorff_alpha(ratings["score"].to_list(), level="ordinal")
        assert found == pytest.approx(said, abs=1e-9), criterion
