"""`swath router` as people use it."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

import swath as sw
from swath import routing
from tests.cli_kit import Cli, cli
from tests.compare_kit import PRICES, respond, tickets, world
from tests.conftest import Open
from tests.golden_kit import route, suite
from tests.golden_kit import tickets as golden_tickets
from tests.router_kit import graded, prompts, study_data
from tests.servers import OpenAIServer, serve

__all__ = ["cli"]


@pytest.fixture
def files(cli: Cli) -> Cli:
    graded().write_parquet(cli.folder / "graded.parquet")
    texts = prompts(120, 5)[0]
    ids = [f"p{i}" for i in range(120)]
    pl.DataFrame({"prompt_id": ids, "prompt": texts}).write_parquet(cli.folder / "p.parquet")
    return cli


def test_train_predict_and_score(files: Cli) -> None:
    done = files("router", "train", "--data", "graded.parquet", "--out", "my.router")
    assert done.status == 0
    assert "240 prompts, 4 models, 2 sources" in done.err
    done = files("router", "predict", "my.router", "--prompts", "p.parquet", "--out", "q.parquet")
    assert done.status == 0, done.err
    table = pl.read_parquet(files.folder / "q.parquet")
    assert table.schema == {"prompt_id": pl.String, "model": pl.String, "quality": pl.Float64}
    assert table.height == 480
    assert table["quality"].is_between(0, 1).all()
    assert table["prompt_id"].to_list()[:5] == ["p0", "p0", "p0", "p0", "p1"]
    done = files(
        "router", "predict", "my.router", "--prompts", "p.parquet", "--out", "s.parquet", "--score"
    )
    scores = pl.read_parquet(files.folder / "s.parquet")
    assert done.status == 0
    assert scores.columns == ["prompt_id", "score"]
    assert scores.height == 120
    mean = table.group_by("prompt_id").agg(pl.col("quality").mean())
    both = scores.join(mean, on="prompt_id")
    assert both.select(pl.corr("score", "quality")).item() < -0.9  # hard prompts want the strong


def test_predict_pipes_and_explains(files: Cli) -> None:
    done = files("router", "predict", "default", "--prompts", "p.parquet", "--score", "--explain")
    assert done.status == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 120
    assert rows[0].keys() == {"prompt_id", "score"}
    assert "length" in done.err
    assert "task" in done.err


def test_prompts_without_ids_are_numbered(files: Cli) -> None:
    files.write("p.csv", "prompt\nWhat is two plus two?\nWrite a poem\n")
    done = files("router", "predict", "default", "--prompts", "p.csv")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(r["prompt_id"], r["model"]) for r in rows] == [
        (0, "weak"),
        (0, "strong"),
        (1, "weak"),
        (1, "strong"),
    ]


def test_calibrate_for_a_share_a_quality_and_a_budget(files: Cli) -> None:
    files("router", "train", "--data", "graded.parquet", "--out", "my.router")
    goal = ("router", "calibrate", "my.router", "--prompts")
    shares = []
    for share in ("0.1", "0.3", "0.6"):
        done = files(*goal, "p.parquet", "--share", share, "--json")
        assert done.status == 0, done.err
        found = json.loads(done.out)
        assert abs(found["share"] - float(share)) < 0.02
        assert (found["weak"], found["strong"]) == ("tiny", "huge")
        assert not found["drift"]["psi"] > 0.25
        shares.append(found["threshold"])
    assert shares == sorted(shares, reverse=True)
    done = files(
        *(*goal, "graded.parquet", "--quality", "0.8", "--confidence", "0.9"),
        *("--weak", "small", "--strong", "huge"),
    )
    assert done.status == 0
    assert "With 90% confidence at least 80.0% of 'huge'" in done.out
    done = files(
        *(*goal, "p.parquet", "--budget", "0.5", "--weak-cost", "0.001"),
        *("--strong-cost", "0.01", "--json", "--out", "cheap.router"),
    )
    found = json.loads(done.out)
    assert found["reached"]["cost"] <= 0.5
    assert found["saved"] == "cheap.router"
    from swath.routing.artifact import load

    kept = load(files.folder / "cheap.router").calibration
    assert kept is not None
    assert kept.threshold == found["threshold"]


def test_drift_since_calibration_is_reported(files: Cli) -> None:
    files("router", "train", "--data", "graded.parquet", "--out", "my.router")
    files("router", "calibrate", "my.router", "--prompts", "p.parquet", "--share", "0.3")
    done = files("router", "predict", "my.router", "--prompts", "p.parquet", "--score")
    assert "moved" not in done.err
    odd = pl.DataFrame({"prompt": ["eigenvalue tensor kernel entropy lattice " * 20] * 150})
    odd.write_parquet(files.folder / "odd.parquet")
    done = files("router", "predict", "my.router", "--prompts", "odd.parquet", "--score")
    assert "scores moved: PSI" in done.err
    assert done.status == 0


def test_the_default_is_not_written_over(files: Cli) -> None:
    done = files("router", "calibrate", "default", "--prompts", "p.parquet", "--share", "0.3")
    assert done.status == 0
    assert "Not saved: give --out" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("train", "--out", "a.router"), 1, "--data, --from-compare, --from-pairs"),
        (("train", "--data", "graded.parquet", "--out", "a", "--kind", "xgb"), 1, "There are:"),
        (("train", "--data", "tickets.csv", "--out", "a"), 1, "no column 'prompt'"),
        (("train", "--data", "none.parquet", "--out", "a"), 1, "none.parquet"),
        (
            ("train", "--data", "graded.parquet", "--out", "no/such/a.router"),
            1,
            "no folder 'no/such'",
        ),
        (("train", "--from-compare", "nothing", "--out", "a"), 1, "no comparison 'nothing'"),
        (("train", "--from-compare", "last", "--out", "a"), 1, "There is no comparison in"),
        (("train", "--from-pairs", "graded.parquet", "--out", "a"), 1, "no column 'verdict'"),
        (("train", "--from-golden", "no.json", "--out", "a"), 1, "cannot be read"),
        (("train", "--from-golden", "no.toml", "--out", "a"), 1, "no.toml"),
        (("train", "--prompts", "p.parquet", "--out", "a"), 1, "--models small,large"),
        (
            ("train", "--data", "graded.parquet", "--judge", "j", "--out", "a"),
            1,
            "is for --prompts",
        ),
        (
            ("train", "--data", "graded.parquet", "--models", "m", "--out", "a"),
            1,
            "is for --prompts",
        ),
        (("train", "--data", "graded.parquet", "--dry-run", "--out", "a"), 1, "is for --prompts"),
        (("train", "--data", "graded.parquet", "--items", "i", "--out", "a"), 1, "--from-pairs"),
        (
            ("train", "--data", "graded.parquet", "--out", "a", "--hold-out", "a.txt"),
            1,
            "known ending",
        ),
        (("predict", "default", "--prompts", "tickets.csv"), 1, "no column 'prompt'"),
        (("predict", "no.router", "--prompts", "p.parquet"), 1, "swath router train"),
        (("predict", "p.parquet", "--prompts", "p.parquet"), 1, "no router, or is damaged"),
        (("calibrate", "default", "--prompts", "p.parquet"), 1, "one goal"),
        (("calibrate", "default", "--prompts", "p.parquet", "--share", "2"), 1, "The share is 2"),
        (
            ("calibrate", "default", "--prompts", "p.parquet", "--share", "0.5", "--weak", "x"),
            1,
            "does not know 'x'",
        ),
        (("calibrate", "default", "--prompts", "p.parquet", "--budget", "1"), 1, "--weak-cost"),
        (("calibrate", "default", "--prompts", "graded.parquet", "--quality", "0.9"), 1, "--weak"),
        (("eval", "--data", "nowhere"), 1, "routellm_eval.parquet"),
        (("eval", "--data", ".", "--benchmark", "arc"), 1, "mt-bench"),
        (("eval", "--data", ".", "--plot", "a.txt"), 1, ".svg"),
        (("train",), 2, "--out"),
    ],
)
def test_mistakes_end_in_one_line(
    files: Cli, arguments: tuple[str, ...], status: int, says: str
) -> None:
    done = files("router", *arguments)
    assert done.status == status
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err


def test_kinds_are_listed(cli: Cli) -> None:
    done = cli("router", "kinds")
    assert done.status == 0
    for kind in ("random", "words", "similarity", "factorization", "boosted", "transfer"):
        assert kind in done.out


def test_eval_prints_and_writes_what_it_found(files: Cli) -> None:
    data = study_data()
    files("router", "train", "--data", "graded.parquet", "--out", "my.router")
    done = files(
        *("router", "eval", "--data", data, "--benchmark", "mt-bench", "--resamples", "50"),
        *("--routers", "default,my.router,rules", "--json", "out.json", "--plot", "out.svg"),
    )
    assert done.status == 0, done.err
    for name in ("default", "my.router", "rules", "words", "random (10 draws)", "oracle"):
        assert name in done.out
    assert "RouteLLM mf, arena+judge" in done.out
    (found,) = json.loads((files.folder / "out.json").read_text())
    assert found["benchmark"] == "mt-bench"
    assert found["n"] == 72
    first = found["results"][0]
    assert first["router"] == "default"
    assert len(first["curve"]) == 11
    assert first["apgr"]["low"] < first["apgr"]["estimate"] < first["apgr"]["high"]
    assert first["curve"][0]["strong_share"] == 0
    assert first["curve"][-1]["pgr"] == pytest.approx(1)
    assert (files.folder / "out.svg").read_text().startswith("<svg")
    done = files("router", "eval", "--data", data, "--routers", "nothing")
    assert done.status == 1
    assert "neither a kind of router nor a file" in done.err


@pytest.mark.local
def test_training_embeds_with_the_packaged_encoder(files: Cli) -> None:
    done = files(
        *("router", "train", "--data", "graded.parquet", "--out", "n.router"),
        *("--kind", "neighbours"),
    )
    assert done.status == 0, done.err
    done = files("router", "predict", "n.router", "--prompts", "p.parquet", "--explain", "--score")
    assert done.status == 0
    assert "likeness" in done.err


def test_a_judged_comparison_is_training_data(files: Cli, open_session: Open) -> None:
    ask = sw.map("Answer: {text}")
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        kept = {"progress": False}
        judged = sw.compare(tickets(40), ask, ["weak", "good"], judge="fair", **kept)
        judged.save(files.folder / "run")
        sw.compare(tickets(5), ask, ["weak", "good"], **kept).save(files.folder / "unjudged")
    done = files("router", "train", "--from-compare", "run", "--out", "my.router")
    assert done.status == 0, done.err
    assert "40 prompts, 2 models" in done.err
    done = files("router", "predict", "my.router", "--prompts", "p.parquet")
    rows = [json.loads(line) for line in done.out.splitlines()]
    mean = {m: sum(r["quality"] for r in rows if r["model"] == m) for m in ("weak", "good")}
    assert mean["weak"] < mean["good"]
    done = files("router", "train", "--from-compare", "unjudged", "--out", "a.router")
    assert done.status == 1
    assert "was not judged" in done.err


def prepare(cli: Cli, base_url: str) -> None:
    """A swath.toml with the models of `compare_kit`, and forty prompts."""
    lines = []
    for name in ("weak", "good", "fair"):
        price = PRICES.get(name, (1.0, 4.0))
        lines += [f"[models.{name}]", 'provider = "openai"', f'model = "{name}"']
        lines += [f'base_url = "{base_url}"']
        lines += [f"price = {{ input = {price[0]}, output = {price[1]} }}"]
    cli.write("swath.toml", "\n".join(lines) + "\n")
    pl.DataFrame({"prompt": tickets(40)["text"]}).write_csv(cli.folder / "asked.csv")


def test_the_flywheel_from_comparing_to_auto(cli: Cli) -> None:
    """Compare, train, calibrate, paste what was printed, and ask `auto`: each a command."""
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        pl.DataFrame(tickets(80)).write_csv(cli.folder / "in.csv")
        ask = ("--map", "Answer: {text}")
        done = cli(
            "compare", "in.csv", *ask, "--models", "weak,good", "--judge", "fair", "-n", "80"
        )
        assert done.status == 0, done.err
        paid = server.stats.answered
        trained = cli(
            *("router", "train", "--from-compare", "last", "--out", "my.router"),
            *("--hold-out", "held.parquet"),
        )
        assert trained.status == 0, trained.err
        assert "2 models, 1 source" in trained.err
        assert "'weak' is no worse than 'good' on" in trained.err
        again = cli("router", "train", "--from-compare", "last", "--out", "other.router")
        assert again.status == 0, again.err
        assert server.stats.answered == paid  # training asks nothing

        (command,) = [line for line in trained.err.splitlines() if line.startswith("Next: ")]
        assert command == (
            "Next: swath router calibrate my.router --prompts held.parquet --quality 0.95"
        )
        assert cli(*command.removeprefix("Next: swath ").split()).status == 0
        pasted = trained.err[trained.err.index("[router]") :]
        cli.write("swath.toml", (cli.folder / "swath.toml").read_text() + pasted)
        done = cli("enrich", "in.csv", *ask, "--model", "auto", "--out", "out.csv")
        assert done.status == 0, done.err
        assert pl.read_csv(cli.folder / "out.csv")["answer"].null_count() == 0
        assert server.stats.answered == paid  # every answer was stored, under its real model


def test_prompts_are_asked_judged_and_paid_once(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        ask = ("router", "train", "--prompts", "asked.csv", "--models", "weak,good")
        ask = (*ask, "--judge", "fair", "--sample", "30", "--out")
        done = cli(*ask, "a.router", "--dry-run")
        assert done.status == 0, done.err
        assert "30 prompts, 2 models, 1 judge in both orders: at most 120 calls" in done.err
        assert server.stats.answered == 0
        assert not (cli.folder / "a.router").exists()

        done = cli(*ask, "a.router", "--max-cost", "0.01")
        assert done.status == 3, done.err
        assert "never more than $0.01" in done.err
        assert "the same command goes on from here" in done.err
        assert not (cli.folder / "a.router").exists()
        part = server.stats.answered
        assert part > 0

        assert cli(*ask, "a.router", "--max-cost", "5").status == 0
        whole = server.stats.answered
        assert part < whole <= 120
        assert cli(*ask, "b.router").status == 0
        assert server.stats.answered == whole
        one, two = ((cli.folder / name).read_bytes() for name in ("a.router", "b.router"))
        assert one == two
        assert b"ticket" not in one

        # The replayed prompts beside grades of another kind: two sources.
        table = graded(60, models=("tiny", "huge")).with_columns(
            pl.col("model").replace({"tiny": "weak", "huge": "good"})
        )
        table.write_parquet(cli.folder / "mine.parquet")
        done = cli(*ask, "c.router", "--data", "mine.parquet")
        assert done.status == 0, done.err
        assert "90 prompts, 2 models, 3 sources" in done.err
        done = cli(*ask[:-5], "--judge", "nobody", "--out", "d.router")
        assert done.status == 1
        assert "nobody" in done.err
        assert server.stats.answered == whole


def test_a_golden_set_trains_by_its_report_or_by_itself(cli: Cli) -> None:
    def answer(prompt: str, body: dict[str, object]) -> str:
        right = route(prompt, body)
        return right if body["model"] == "good" or right != "loan" else "other"

    with serve(OpenAIServer(respond=answer)) as server:
        prepare(cli, server.base_url)
        golden_tickets(cli.folder, 30)
        suite(cli.folder)
        train = ("router", "train", "--from-golden")
        done = cli(*train, "golden.toml", "--models", "weak,good", "--out", "a.router")
        assert done.status == 0, done.err
        assert "30 prompts, 2 models" in done.err
        paid = server.stats.answered
        cli("eval", "golden.toml", "--models", "weak,good", "--json", "r.json")
        done = cli(*train, "r.json", "--out", "b.router")
        assert done.status == 0, done.err
        assert server.stats.answered == paid
        assert (cli.folder / "a.router").read_bytes() == (cli.folder / "b.router").read_bytes()
        done = cli(*train, "golden.toml", "--out", "c.router")
        assert done.status == 1
        assert "--models small,large" in done.err
        (cli.folder / "golden.toml").unlink()
        done = cli(*train, "r.json", "--out", "c.router")
        assert done.status == 1
        assert "is not there" in done.err


def test_pairs_of_unknown_models_say_how_to_name_them(cli: Cli) -> None:
    cli.config("http://127.0.0.1:9")
    rows = [("p1", "A"), ("p2", "B"), ("p3", "tie"), ("p4", "A")]
    table = pl.DataFrame(rows, schema=["prompt", "verdict"], orient="row")
    table = table.with_columns(model_a=pl.lit("gpt-4"), model_b=pl.lit("fast"))
    table.write_csv(cli.folder / "pairs.csv")
    done = cli("router", "train", "--from-pairs", "pairs.csv", "--out", "my.router")
    assert done.status == 0, done.err
    assert 'models = { "gpt-4" = "ALIAS" }' in done.err
    items = table.with_row_index("item_id").drop("verdict")
    items.write_parquet(cli.folder / "items.parquet")
    table.with_row_index("item_id").select("item_id", "verdict").write_csv(cli.folder / "said.csv")
    done = cli(
        *("router", "train", "--from-pairs", "said.csv", "--items", "items.parquet"),
        *("--out", "other.router"),
    )
    assert done.status == 0, done.err
    one, two = ((cli.folder / f"{name}.router").read_bytes() for name in ("my", "other"))
    assert one == two


def test_of_many_models_two_can_be_learned_for(files: Cli) -> None:
    train = ("router", "train", "--data", "graded.parquet", "--out", "two.router", "--pair")
    done = files(*train, "tiny,large")
    assert done.status == 0, done.err
    assert "2 models" in done.err
    router = routing.load(files.folder / "two.router")
    assert set(router.models) == {"tiny", "large"}
    told = router.predict(["a hard one", "an easy one"])
    gained = told[:, router.models.index("large")] - told[:, router.models.index("tiny")]
    np.testing.assert_allclose(router.score(["a hard one", "an easy one"]), gained)
    done = files(*train, "tiny,nosuch")
    assert done.status == 1
    assert "'nosuch'" in done.err
    assert files(*train, "tiny").status == 1


def test_kept_calls_are_replayed_and_learned_from(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        train = ("router", "train", "--models", "weak,good", "--judge", "fair", "--out", "a.router")
        done = cli(*train, "--from-calls", "all")
        assert done.status == 1
        assert "There are no calls" in done.err
        pl.DataFrame(tickets(40)).write_csv(cli.folder / "in.csv")
        ask = ("enrich", "in.csv", "--map", "Answer: {text}", "--model", "weak", "--out", "o.csv")
        assert cli(*ask).status == 0
        done = cli(*train, "--from-calls", "last")
        assert done.status == 1
        assert "keep_prompts = true" in done.err
        toml = (cli.folder / "swath.toml").read_text()
        cli.write("swath.toml", "keep_prompts = true\n" + toml)
        assert cli(*ask, "--map", "Reply: {text}").status == 0
        done = cli(*train, "--from-calls", "last", "--prompts", "in.csv")
        assert "Give one" in done.err
        done = cli(*train, "--from-calls", "last", "--sample", "30")
        assert done.status == 0, done.err
        assert "30 prompts, 2 models, 1 judge in both orders" in done.err
        assert b"ticket" not in (cli.folder / "a.router").read_bytes()
        done = cli(*train, "--from-calls", "all")
        assert "no prompts of 'all'" in done.err  # rows of a table stand for no requests
