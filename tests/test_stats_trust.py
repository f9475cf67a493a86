"""May a judge be used, and what is said of arguments that will not do."""

from __future__ import annotations

import polars as pl
import pytest

from swath.errors import InputError
from swath.evals.stats import agreement, pairwise
from swath.evals.stats.decide import decide, decide_between
from swath.evals.stats.estimate import Estimate
from swath.evals.stats.favour import self_preference
from swath.evals.stats.ppi import tuned_ppi_mean
from swath.evals.stats.trust import judge_trust
from tests.stats_kit import pairs_of


def test_what_speaks_against_a_judge() -> None:
    fine = {"judgements": 200, "labelled": 100, "agreement": 0.8, "kappa": 0.6}
    assert judge_trust(**fine).usable is True  # type: ignore[arg-type]
    for wrong, said in (
        ({"unparsed": 30}, "15% of its verdicts could not be parsed"),
        ({"order_agreement": 0.4}, "its two orders agree on 40%"),
        ({"first_rate": Estimate(0.7, 0.65, 0.75, 200)}, "picks the first in 70%"),
        ({"first_rate": Estimate(0.3, 0.25, 0.35, 200)}, "picks the second in 70%"),
        ({"kappa": 0.1}, "kappa 0.10"),
        ({"kappa": 0.3, "ceiling": 0.95}, "people with one another in 95%"),
    ):
        trust = judge_trust(**(fine | wrong))  # type: ignore[arg-type]
        assert trust.usable is False
        assert said in trust.sentence
        assert trust.sentence.startswith("This judge may not be used here: ")
    # Both orders take the position out: a lean alone is then no reason.
    both = {"first_rate": Estimate(0.7, 0.65, 0.75, 200), "order_agreement": 0.7}
    assert judge_trust(**(fine | both)).usable is True  # type: ignore[arg-type]


def test_without_labels_it_cannot_be_told() -> None:
    trust = judge_trust(judgements=100, order_agreement=0.9, contestant=True)
    assert trust.usable is None
    assert trust.sentence == (
        "Whether this judge may be used here cannot be told: there are no labels to compare it "
        "with; its two orders agree on 90% of the rows; it judges its own answers. "
        "Label a random sample of 50 rows."
    )
    few = judge_trust(judgements=100, labelled=5, agreement=1.0, kappa=1.0)
    assert few.usable is None
    assert "5 labelled rows are too few" in few.sentence


# -- bad input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: agreement.cohen_kappa(["A"], ["A", "B"]), "a has 1, b has 2"),
        (
            lambda: agreement.cohen_kappa(["A"], ["B"], weights="cubic"),  # type: ignore[arg-type]
            "There are: linear, quadratic",
        ),
        (lambda: agreement.cohen_kappa([1, 2], [1, 3], order=[1, 2]), "lacks 1 of the categories"),
        (
            lambda: agreement.krippendorff_alpha([["a", "b"]], level="ratio"),  # type: ignore[arg-type]
            "There are: interval, nominal, ordinal",
        ),
        (lambda: agreement.krippendorff_alpha([["a", "b"]], level="interval"), "not numbers"),
        (lambda: agreement.fleiss_kappa([1, 2]), "table of counts"),  # type: ignore[list-item]
        (lambda: decide([1.0, 2.0], clusters=["p"]), "differences has 2, clusters has 1"),
        (lambda: decide(["A"]), "not numbers"),  # type: ignore[list-item]
        (lambda: tuned_ppi_mean([1.0], [1.0], [1.0]), "1 labels carry no interval"),
        (lambda: tuned_ppi_mean([1.0, 0.0], [1.0, None], [1.0]), "missing"),  # type: ignore[list-item]
        (lambda: tuned_ppi_mean([1.0, 0.0], [1.0], [1.0]), "differ in length"),
        (
            lambda: tuned_ppi_mean([1.0, 0.0], [1.0, 0.0], [1.0], clusters=[1, 2]),
            "for one part only",
        ),
        (
            lambda: tuned_ppi_mean(
                [1.0, 0.0], [1.0, 0.0], [1.0], clusters=[1, 1], rest_clusters=[2]
            ),
            "of one cluster",
        ),
        (lambda: decide([1.0], level=95), "level of 95"),
    ],
)
def test_bad_arguments(call: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()  # type: ignore[operator]


def test_an_unknown_model_lists_those_there_are() -> None:
    items, verdicts = pairs_of([("i", "AB", "A")])
    human = pl.DataFrame({"item_id": ["i"], "label": ["A"]})
    with pytest.raises(InputError, match=r"no model 'z'.*There are: x, y"):
        decide_between(items, verdicts, "x", "z")
    with pytest.raises(InputError, match=r"has the model 'z'.*There are: x, y"):
        self_preference(items, verdicts, human, "z")
    with pytest.raises(InputError, match=r"no model 'z'.*There are: x, y"):
        pairwise.votes(items, verdicts).number("z")
