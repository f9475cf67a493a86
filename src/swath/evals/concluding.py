"""From verdicts and labels to trust in the judge, corrected rates, and a decision for each pair.

The statistics are `swath.evals.stats`; here they meet a comparison.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from swath.errors import InputError
from swath.evals import labelling
from swath.evals.comparison import CALIBRATION, Comparison, JudgeTrust
from swath.evals.jury import JURY, preferences
from swath.evals.stats.agreement import human_with_human, judge_with_human, table_kappa
from swath.evals.stats.decide import Decision, decide
from swath.evals.stats.estimate import Estimate
from swath.evals.stats.favour import SelfPreference, self_preference
from swath.evals.stats.position import first_rate, order_agreement, settle
from swath.evals.stats.ppi import Corrected, tuned_ppi_mean
from swath.evals.stats.trust import judge_trust

_OPINIONS = {"item_id": pl.String(), "verdict": pl.String()}
SCORE = {"A": 0.0, "B": 1.0, "tie": 0.5}  # how far a verdict prefers b


def with_human(made: Comparison, labels: Any) -> Comparison:
    """See `Comparison.with_human`."""
    table = labelling.read(labels)
    if made.items is None:
        raise InputError(
            "This comparison has no pairs that labels could belong to.",
            hint="It is an old one: make it again, at no cost, with sw.compare(…).",
        )
    known = table.filter(pl.col("item_id").is_in(made.items["item_id"].implode()))
    if not known.height:
        raise InputError(
            "No label belongs to a pair of this comparison.",
            hint="item_id must be that of comparison.items; swath label writes such a table.",
        )
    return concluded(replace(made, human=known))


def concluded(made: Comparison) -> Comparison:
    """`made` with `trust`, `judges`, `calibration` and `decisions` from what it holds: verdicts,
    labels, or both."""
    judged_by = made.verdicts if made.verdicts is not None else made.scores
    if made.items is None or (judged_by is None and made.human is None):
        return made
    judges = tuple(_trust(made, judge) for judge in _judges(made))
    trust = judges[-1] if judges else None
    decisions, lines, notes = [], [], list(made.notes)
    final = opinions(made, trust.judge if trust else "")
    people = None if made.human is None else _people(made.human)
    for (a, b), items in made.items.group_by("model_a", "model_b", maintain_order=True):
        judged = items.join(final, on="item_id", how="left", maintain_order="left")
        decision = None
        if judged_by is not None:
            decision = _decision(judged, str(a), str(b))
            lines.append(_line(decision, "judge", decision.win_rate))
        labelled = None if people is None else judged.join(people, on="item_id", how="left")
        corrected = None
        if labelled is not None and decision is not None:
            corrected = _corrected(labelled)
        if decision is not None and corrected is not None:
            lines.append(_line(decision, "labels", corrected.labels))
            lines.append(_line(decision, "ppi", corrected))
            notes.append(f"{a}, {b}: {corrected.sentence}")
            decision = _by_both(decision, corrected)
        elif labelled is not None and labelled["people"].count():
            # No judge, nothing left for it, or labels all the same: the labels have the word.
            decision = _by_people(labelled, str(a), str(b))
            lines.append(_line(decision, "labels", decision.win_rate))
        if decision is not None:
            decisions.append(_priced(decision, made.by_model))
    return replace(
        made,
        trust=trust,
        judges=judges,
        decisions=tuple(decisions),
        calibration=pl.DataFrame(lines, schema=CALIBRATION),
        notes=tuple(dict.fromkeys(notes)),
    )


# -- what each judge says of each item


def opinions(made: Comparison, judge: str) -> pl.DataFrame:
    """`item_id, verdict` of one judge, both orders settled into one; from scores where there are
    no verdicts, the higher mean winning; no rows where nobody judged."""
    if made.verdicts is not None:
        rows = made.verdicts.filter(pl.col("judge") == judge)
        if not rows.height:
            return pl.DataFrame(schema=_OPINIONS)
        return settle(rows).select("item_id", "verdict")
    if made.scores is None:
        return pl.DataFrame(schema=_OPINIONS)
    assert made.items is not None
    scores = made.scores if judge == JURY else made.scores.filter(pl.col("judge") == judge)
    sign = pl.col("difference").sign()
    verdict = pl.when(sign > 0).then(pl.lit("B")).when(sign < 0).then(pl.lit("A"))
    parts = []
    for (a, b), items in made.items.group_by("model_a", "model_b", maintain_order=True):
        found = preferences(scores, str(a), str(b))
        told = found.select("row", verdict=verdict.when(sign == 0).then(pl.lit("tie")))
        parts.append(items.join(told, on="row", how="left").select("item_id", "verdict"))
    return pl.concat(parts) if parts else made.items.select("item_id", verdict=pl.lit(None))


def _judges(made: Comparison) -> list[str]:
    """Each judge, and the jury last where there are several."""
    told = made.verdicts if made.verdicts is not None else made.scores
    if told is None:
        return []
    names = [name for name in told["judge"].unique(maintain_order=True) if name != JURY]
    return [*names, JURY] if len(names) > 1 else names


# -- trust


def _trust(made: Comparison, judge: str) -> JudgeTrust:
    assert made.items is not None
    # Equal answers were never shown to the judge: they say nothing of it.
    items = made.items.filter(pl.col("answer_a") != pl.col("answer_b"))
    own = dict(made.settings.get("contestants") or {})
    contestant = judge in own or (judge == JURY and bool(own))
    rows, judgements, unparsed = None, 0, 0
    if made.verdicts is not None:
        shown = pl.col("item_id").is_in(items["item_id"].implode())
        rows = made.verdicts.filter(shown & (pl.col("judge") == judge))
        judgements, unparsed = rows.height, rows["verdict"].null_count()
    elif made.scores is not None:
        scores = made.scores
        scores = scores if judge == JURY else scores.filter(pl.col("judge") == judge)
        judgements, unparsed = scores.height, scores["score"].null_count()
    if not judgements:
        return JudgeTrust(
            judge=judge,
            n=0,
            first_rate=None,
            order_agreement=None,
            unparsed=0,
            human_agreement=None,
            human_kappa=None,
            human_human_agreement=None,
            contestant=contestant,
            self_preference=None,
            sentence="There was nothing to judge: in no row do the answers differ.",
            usable=None,
        )
    first = orders = None
    if rows is not None:
        first, orders = first_rate(rows, items), order_agreement(rows, items)
    agreement = kappa = ceiling = preference = None
    labelled = 0
    if made.human is not None:
        told = opinions(made, judge).join(items.select("item_id"), on="item_id")
        if told.height:
            beside = judge_with_human(told, made.human)
            labelled = beside["item_id"].n_unique()
            agreement, kappa = _mean(beside["same"]), table_kappa(beside)
        ceiling = _mean(human_with_human(made.human)["same"])
        preference = _self_preference(made, rows, items, own.get(judge))
    trust = judge_trust(
        judgements=judgements,
        unparsed=unparsed,
        first_rate=first,
        order_agreement=None if orders is None else orders.estimate,
        labelled=labelled,
        agreement=agreement,
        kappa=kappa,
        ceiling=ceiling,
        contestant=contestant,
        self_preference=preference,
    )
    return JudgeTrust(
        judge=judge,
        n=items.height,
        first_rate=None if first is None else first.estimate,
        order_agreement=None if orders is None else orders.estimate,
        unparsed=unparsed,
        human_agreement=agreement,
        human_kappa=kappa,
        human_human_agreement=ceiling,
        contestant=contestant,
        self_preference=None if preference is None else _plain(preference.gap),
        sentence=_named(trust.sentence, judge, own.get(judge)),
        usable=trust.usable,
    )


def _self_preference(
    made: Comparison, rows: pl.DataFrame | None, items: pl.DataFrame, own: str | None
) -> SelfPreference | None:
    if own is None or rows is None or made.human is None:
        return None
    try:
        return self_preference(items, rows, made.human, own)
    except InputError:
        return None  # none of its own answers has a label


def _named(sentence: str, judge: str, own: str | None) -> str:
    name = "the jury" if judge == JURY else f"the judge '{judge}'"
    said = sentence.replace("This judge", name[0].upper() + name[1:], 1).replace(
        "this judge", name, 1
    )
    if own is None or own == judge:
        return said
    return f"{said} It is the same model as '{own}'."


def _mean(values: pl.Series) -> float | None:
    mean: Any = values.cast(pl.Float64).mean()
    return None if mean is None else float(mean)


# -- decisions


def _decision(judged: pl.DataFrame, a: str, b: str) -> Decision:
    differences = [None if v is None else 2 * SCORE[v] - 1 for v in judged["verdict"]]
    return decide(differences, clusters=judged["cluster"].to_list(), a=a, b=b)


def _people(human: pl.DataFrame) -> pl.DataFrame:
    """`item_id, people`: the mean of an item's labels."""
    label = pl.col("label").replace_strict(SCORE, default=None, return_dtype=pl.Float64)
    return human.group_by("item_id").agg(people=label.mean())


def _corrected(labelled: pl.DataFrame) -> Corrected | None:
    """How people would prefer `b` over all pairs; None where all are labelled, or too few, or all
    the same: no variance can be taken from those."""
    score = pl.col("verdict").replace_strict(SCORE, default=None, return_dtype=pl.Float64)
    both = labelled.select("people", judge=score.fill_null(0.5))
    known, rest = both.drop_nulls("people"), both.filter(pl.col("people").is_null())
    if not rest.height or known["people"].n_unique() < 2:
        return None
    said = (known["people"].to_list(), known["judge"].to_list(), rest["judge"].to_list())
    return tuned_ppi_mean(*said)


def _by_people(labelled: pl.DataFrame, a: str, b: str) -> Decision:
    """What the labelled pairs alone decide: a win, a loss or a tie each."""
    known = labelled.drop_nulls("people")
    differences = [2 * share - 1 for share in known["people"]]
    found = decide(differences, clusters=known["cluster"].to_list(), a=a, b=b)
    said = found.sentence
    said = said[0].lower() + said[1:] if said.startswith("No ") else said
    return replace(found, sentence=f"By the labels, {said}")


def _by_both(decision: Decision, corrected: Corrected) -> Decision:
    """The decision that people's labels make, with as much help as the judge is worth."""
    a, b = decision.a, decision.b
    rate = _plain(corrected)
    settled = rate.low > 0.5 or rate.high < 0.5
    winner = None if not settled else b if rate.estimate > 0.5 else a
    basis = f"{corrected.n} labels" + (" and the judge" if corrected.useful else "")
    if winner is None:
        sentence = (
            f"By {basis}, no difference between {a} and {b} can be told: {b} is preferred in "
            f"{_interval(rate.estimate, rate.low, rate.high)} of rows."
        )
    else:
        sides = (rate.estimate, rate.low, rate.high)
        share = sides if winner == b else (1 - rate.estimate, 1 - rate.high, 1 - rate.low)
        loser = a if winner == b else b
        sentence = f"By {basis}, {winner} beats {loser} in {_interval(*share)} of rows."
    return replace(decision, winner=winner, win_rate=rate, needed=None, sentence=sentence)


def _interval(share: float, low: float, high: float) -> str:
    return f"{share:.0%} ({max(low, 0) * 100:.0f} to {min(high, 1) * 100:.0f})"


def _plain(value: Estimate) -> Estimate:
    return Estimate(value.estimate, value.low, value.high, value.n)


def _line(decision: Decision, method: str, rate: Estimate) -> dict[str, Any]:
    return {
        "model_a": decision.a,
        "model_b": decision.b,
        "method": method,
        "estimate": rate.estimate,
        "low": rate.low,
        "high": rate.high,
        "n": rate.n,
    }


# -- what it costs


def _priced(decision: Decision, by_model: pl.DataFrame) -> Decision:
    """The same decision, saying what a row costs."""
    costs = dict(by_model.select("model", "cost_per_row_usd").iter_rows())
    best = decision.winner or decision.b
    other = decision.a if best == decision.b else decision.b
    said = _ratio(costs.get(best), costs.get(other))
    if not said:
        return decision
    sentence = decision.sentence
    if decision.winner is not None:
        # The clause joins the claim, not what is left out of it.
        claim, dot, rest = sentence.partition(". ")
        return replace(decision, sentence=f"{claim.rstrip('.')} and {said}.{dot[1:]}{rest}")
    if said.startswith("costs a "):
        said = f"{said} of what {other} costs"
    elif said.endswith(("much", "same")):
        said = f"{said} as {other}"
    return replace(decision, sentence=f"{sentence} {best} {said}.")


_PARTS = ("half", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def _ratio(cost: float | None, other: float | None) -> str:
    """`costs a ninth`, `costs 4.2 times as much`; empty where it is not known or both are free."""
    if cost is None or other is None or (cost == 0 and other == 0):
        return ""
    if cost == 0:
        return "costs nothing"
    if other == 0:
        return "is not free"
    times = cost / other
    if 0.95 <= times <= 1.05:
        return "costs the same"
    if times > 1:
        return f"costs {f'{times:.1f}'.removesuffix('.0')} times as much"
    part = round(1 / times)
    if 2 <= part <= 10 and abs(1 / times - part) < 0.1 * part:
        return f"costs a {_PARTS[part - 2]}"
    return f"costs {times:.0%} as much" if times >= 0.1 else f"costs 1/{part} as much"
