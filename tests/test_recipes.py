"""The catalogue: every recipe over every wire format, its golden set, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import swath as sw
from swath import demo
from swath.engine.quotes import ground, quote_paths
from swath.evals.golden.read import read_suite
from swath.operators.examples import as_json
from swath.recipes import sets
from swath.recipes.recipe import GOLDEN
from tests import recipes_page
from tests.cli_kit import Cli, cli
from tests.conftest import Open
from tests.servers import AnthropicServer, Fault, GoogleServer, OpenAIServer, serve

__all__ = ["cli"]
ROWS, GROUPS = sw.recipes.names("row"), sw.recipes.names("group")
ASKING = [*ROWS, *GROUPS]
SERVERS = {"openai": OpenAIServer, "anthropic": AnthropicServer, "google": GoogleServer}
ISSUE = """\
arguments claims entities relations quotes_with_speakers topics key_points sentiment emotion
stance rhetorical_devices style intent timeline taxonomy sections reply_threads citation_network
claims_to_check bias argument_quality contradictions gaps discourse_type comparative_view consensus
evolution_over_time cross_references glossary questions_the_corpus_answers"""


def asked(name: str, text: str = "text", **settings: Any) -> Any:
    """The recipe over the column `text`, which holds lists where it is over groups."""
    recipe: Any = sw.recipes.get(name)
    return recipe(text, **recipe.sample, **settings)


def applied(name: str, texts: list[Any], **settings: Any) -> sw.Frame:
    """The recipe as column `x` over `texts`: as rows, or each as a group of its own."""
    frame = sw.frame(pl.DataFrame({"text": texts, "row": range(len(texts))}))
    made = asked(name, **settings)
    return frame.group_by("row").agg(x=made) if name in GROUPS else frame.with_columns(x=made)


def quotes(name: str) -> tuple[tuple[str, ...], ...]:
    shape = asked(name).ask("", "m").schema
    return quote_paths(shape.json) if shape else ()


def wrapped(name: str, value: Any) -> Any:
    """A cell as the model would have said it."""
    return {"items": value} if isinstance(value, list) else value


def test_the_issue_is_covered_and_each_name_is_its_own() -> None:
    assert set(ISSUE.split()) <= set(sw.recipes.names())
    for name in sw.recipes.names():
        assert sw.recipes.get(name) is getattr(sw.recipes, name)
        assert name in sw.recipes.__all__
    assert {path.stem for path in GOLDEN.glob("*.toml")} == set(ASKING)


@pytest.mark.parametrize("wire", SERVERS)
def test_every_recipe_over_real_text(wire: str, open_session: Open) -> None:
    """Its schema goes to the provider, its answer comes back typed, its quotes are the speech's
    own; null and blank texts cost nothing."""
    # Short: the server cuts a long quote in the middle of a word, and that is none.
    speeches = [speech[:190] for speech in demo.speeches(2)["speech"]]
    with serve(SERVERS[wire](quotes="real")) as server:
        open_session(fast=server)
        for name in ASKING:
            received = server.stats.received
            plain = (
                {"examples": False} if name in ROWS else {}
            )  # whose quotes the server would take
            frame = applied(name, [*speeches, None, " \n"], **plain)
            run = frame.run()
            assert run.errors.is_empty(), (name, run.errors["reason"].to_list())
            assert run.table.schema == frame.schema
            cells = run.table["x"].to_list()
            assert [cell is None for cell in cells] == [False, False, True, True], name
            assert server.stats.received - received == 2, name
            for speech, cell in zip(speeches, cells[:2], strict=True):
                assert ground(wrapped(name, cell), quotes(name), speech)[1] == [], name


def test_evidence_is_asked_for_where_it_is_due() -> None:
    without = {name for name in ASKING if not quotes(name)}
    labelled = {name for name in ROWS if getattr(sw.recipes, name).labels}
    assert without - labelled == {
        "argument_quality",  # grades of the whole
        "consensus",  # of many at once
        "defines",
        "entities",  # a name is its own evidence
        "gaps",  # what is not there cannot be quoted
        "topics",
    }


@pytest.mark.parametrize("name", ASKING)
def test_golden_examples_are_valid(name: str) -> None:
    recipe: Any = sw.recipes.get(name)
    assert 2 <= len(recipe.cases) <= 3
    suite = read_suite(recipe.golden)
    assert suite.table.height == len(recipe.cases)
    shape = asked(name).shape if not getattr(recipe, "labels", None) else None
    for text, answer in recipe.examples:
        source = text if isinstance(text, str) else "\n".join(text)
        assert ground(wrapped(name, answer), quotes(name), source)[1] == []
        if shape is not None:
            shape.check(as_json(shape)(answer))
    if name in ROWS:  # shown to a model, they are turns of a conversation
        assert len(asked(name, examples=True).shots) == 2 * len(recipe.cases)
        told = asked(name).ask("", "m").messages[0].content
        assert not any(isinstance(t, str) and t in told for t, _ in recipe.examples)


def test_a_golden_set_passes_what_is_right_and_fails_what_is_not(open_session: Open) -> None:
    golden = sw.recipes.emotion.golden
    right = dict(sw.recipes.emotion.examples)

    def respond(prompt: str, body: dict[str, Any]) -> str:
        return json.dumps({"label": right[prompt] if server.right else "joy"})

    with serve(OpenAIServer(respond=respond)) as server:
        open_session(fast=server)
        server.right = True
        assert sw.golden(golden).ok
    with serve(OpenAIServer(respond=respond)) as server:
        open_session(other=server)
        server.right = False
        assert not sw.golden(golden, models=["other"]).ok


values = st.recursive(
    st.one_of(st.text(min_size=1), st.integers(1, 5), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values, values)
def test_the_check_is_a_share_and_knows_its_own(answer: Any, other: Any) -> None:
    assert sets.agrees(answer, {"answer": answer})[0] == pytest.approx(1.0)
    there, back = sets.agrees(answer, {"answer": other}), sets.agrees(other, {"answer": answer})
    assert 0 <= there[0] <= 1
    assert there[0] == pytest.approx(back[0])


def test_the_check_tells_near_from_far() -> None:
    wanted = {"answer": [{"claim": "Milk prices fell.", "kind": "fact"}]}
    near = sets.agrees([{"claim": "Milk prices have fallen.", "kind": "fact"}], wanted)[0]
    far = sets.agrees([{"claim": "The bridge is old.", "kind": "fact"}], wanted)[0]
    assert sets.agrees([], wanted)[0] == 0 < far < near < 1
    assert sets.agrees({"grade": 4}, {"answer": {"grade": 5}})[0] == 0.75


def test_examples_are_shown_where_a_list_may_be_empty_and_as_asked() -> None:
    assert sw.recipes.entities("t").shots  # type: ignore[attr-defined]
    assert not sw.recipes.claims("t").shots
    assert not sw.recipes.entities("t", examples=False).shots
    assert '"Jan Novak"' in str(sw.recipes.entities("t").shots)
    assert '"Jan Novak"' not in str(sw.recipes.entities("t", most=1).shots)
    own = [("Ada met Bo.", [{"name": "Ada", "kind": "person"}])]
    assert len(sw.recipes.entities("t", examples=own).shots) == 2
    assert not sw.recipes.sentiment("t", labels=["good", "bad"], examples=True).shots


def test_parameters_labels_and_bounds_reach_the_prompt(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        table = pl.DataFrame({"text": ["The euro is strong."]})
        made = sw.frame(table).with_columns(
            stance=sw.recipes.stance("text", target="the euro {coin}"),
            topics=sw.recipes.topics("text", labels={"money": "coins", "war": ""}),
            mood=sw.recipes.emotion("text", labels=["calm", "angry"]),
            claims=sw.recipes.claims("text", most=7),
        )
        table = made.collect()
        assert table["topics"].dtype == pl.List(pl.String)
        assert table["mood"][0] in ("calm", "angry")
        assert len(table["claims"][0]) <= 7
    told = asked("stance").ask("x", "m").messages[0].content
    assert "towards the new bridge." in told
    assert "At most 7." in sw.recipes.claims("t", most=7).ask("x", "m").messages[0].content
    view = sw.recipes.comparative_view("t").ask("x", "m").messages[0].content
    assert "their common subject" in view


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sw.recipes.get("argument"), "arguments"),
        (lambda: sw.recipes.stance("t"), "target="),
        (lambda: sw.recipes.stance("t", targte="x"), "target"),
        (lambda: sw.recipes.claims("t", labels=["a", "b"]), "labels"),
        (lambda: sw.recipes.claims("t", most=0), "most"),
        (lambda: sw.recipes.sentiment("t", most=2), "most"),
        (lambda: sw.recipes.consensus("t", question="x"), "question"),
        (lambda: sw.recipes.claims("t", long="never"), "refuse"),
        (lambda: sw.frame({"a": [1]}).with_columns(x=sw.recipes.claims("t")), "'t'"),
        (lambda: sw.recipes.glossary(sw.frame({"a": ["x"]}), "t", id="a"), "'t'"),
    ],
)
def test_what_is_wrong_is_said(make: Any, said: str) -> None:
    with pytest.raises(sw.SwathError) as caught:
        make()
    assert said in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("name", ["claims", "stance", "consensus"])
def test_a_failed_row_is_alone(name: str, open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="Row 1")])) as server:
        open_session(fast=server)
        run = applied(name, [f"Row {i} is here." for i in range(3)]).run()
        assert run.table["x"].is_null().to_list() == [False, True, False]
        assert run.errors["row"].to_list() == [1]


def test_an_invented_quote_fails_its_row(open_session: Open) -> None:
    with serve(OpenAIServer(quotes="invent", source="last")) as server:
        open_session(fast=server)
        frame = sw.frame(demo.speeches(1)).with_columns(x=sw.recipes.claims("speech"))
        run = frame.run()
        assert run.table["x"].to_list() == [None]
        assert "quote" in run.errors["reason"][0]


def test_a_date_that_the_text_does_not_give_is_left_out(open_session: Open) -> None:
    told = {"event": "a fire", "when": "then", "day": "1931-03-12"}
    quotes = ["On 12 March 1931 it burned.", "It burned down."]
    said = json.dumps({"items": [{"quote": quote, **told} for quote in quotes]})
    with serve(OpenAIServer(respond=lambda prompt, body: said)) as server:
        open_session(fast=server)
        frame = sw.frame({"text": [" ".join(quotes)]})
        table = frame.with_columns(x=sw.recipes.timeline("text")).collect()
        assert [event["day"] for event in table["x"][0].to_list()] == [date(1931, 3, 12), None]


def test_recipes_are_values() -> None:
    """Equal where they ask the same, so that the store and the optimizer know them."""
    for name in ASKING:
        assert asked(name) == asked(name)
        assert hash(asked(name)) == hash(asked(name))
    assert sw.recipes.claims("t", most=2) != sw.recipes.claims("t")
    assert sw.recipes.stance("t", target="a") != sw.recipes.stance("t", target="b")
    assert str(sw.recipes.claims("t").describe()) == "extract(t, claims)"


def test_long_texts_are_read_in_pieces(open_session: Open) -> None:
    speech = demo.speeches(1)["speech"][0]
    with serve(OpenAIServer(context_window=900, quotes="real")) as server:
        open_session(fast=(server, {"context_window": 900}))
        frame = sw.frame({"text": ["\n\n".join([speech] * 3)]})
        run = frame.with_columns(x=sw.recipes.claims("text", long="chunk", max_tokens=250)).run()
        assert run.errors.is_empty(), run.errors["reason"].to_list()
        assert server.stats.received > 1
        assert run.table["x"][0].len() > 0


# --- the command


def test_the_command_lists_and_shows(cli: Cli) -> None:
    listed = cli("recipes")
    assert listed.status == 0
    for name in sw.recipes.names():
        assert f"\n{name} " in f"\n{listed.out}"
        shown = cli("recipes", "show", name)
        assert shown.status == 0
        assert sw.recipes.get(name).about in shown.out
    assert "the town" not in listed.out.lower()
    stance = cli("recipes", "show", "stance").out
    assert "towards the new bridge" in stance
    assert "target=" in stance
    wrong = cli("recipes", "show", "stanse")
    assert wrong.status == 1
    assert "stance" in wrong.err


@pytest.fixture
def fast(cli: Cli) -> Iterator[Any]:
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        yield server


def test_enrich_by_recipe(cli: Cli, fast: Any) -> None:
    done = cli("enrich", "tickets.csv", "-c", "text", "--recipe", "claims", "-o", "out.parquet")
    assert done.status == 0, done.err
    table = pl.read_parquet(cli.folder / "out.parquet")
    assert table["claims"].null_count() == 1
    assert table["claims"].dtype == asked("claims").dtype
    stance = ("enrich", "tickets.csv", "-c", "text", "--recipe", "stance", "-o", "s.csv")
    assert cli(*stance, "--set", "target=the card").status == 0
    assert set(pl.read_csv(cli.folder / "s.csv")["stance"].drop_nulls()) <= {
        *sw.recipes.stance.labels  # type: ignore[misc]
    }
    for arguments, said in (
        (stance, "target="),
        ((*stance, "--set", "goal=x"), "--set target"),
        ((*stance[:5], "glossary"), "sw.recipes.glossary"),
        ((*stance[:5], "nothing"), "claims"),
        ((*stance[:4], "--classify", "a,b", "--set", "x=y"), "--set is for --recipe"),
    ):
        wrong = cli(*arguments)
        assert wrong.status in (1, 2)
        assert said in wrong.err, wrong.err


# --- the page


def test_the_page_is_of_this_catalogue() -> None:
    assert recipes_page.PAGE.read_text("utf-8") == recipes_page.page(), (
        "write it anew: python -m tests.recipes_page"
    )
