"""`swath router` as people use it."""

from __future__ import annotations

import json

import polars as pl
import pytest

import swath as sw
from tests.cli_kit import Cli, cli
from tests.compare_kit import respond, tickets, world
from tests.conftest import Open
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
        (("train", "--out", "a.router"), 1, "either --data or --from-compare"),
        (("train", "--data", "graded.parquet", "--out", "a", "--kind", "xgb"), 1, "There are:"),
        (("train", "--data", "tickets.csv", "--out", "a"), 1, "no column 'prompt'"),
        (("train", "--data", "none.parquet", "--out", "a"), 1, "none.parquet"),
        (
            ("train", "--data", "graded.parquet", "--out", "no/such/a.router"),
            1,
            "cannot be written",
        ),
        (("train", "--from-compare", "nothing", "--out", "a"), 1, "no comparison 'nothing'"),
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
