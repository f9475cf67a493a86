"""Swath as a contender of `benchmarks.operators`."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from typing import Any

import polars as pl
from pydantic import BaseModel, Field

import swath as sw
import swath.frames  # loads when first used: not in the time, as with the others
from benchmarks import _operators_contender as contender
from benchmarks import _operators_data as data


class Product(BaseModel):
    maker: str = Field(description=contender.MAKER)
    code: str = Field(description=contender.CODE)


def predicate(args: Namespace) -> list[Any]:
    frame = table(args).filter(sw.predicate(contender.STATEMENT + ": {text}"))
    return frame.collect(progress=False)["text"].to_list()


def map_(args: Namespace) -> list[Any]:
    template = contender.HEADING + ":\n{text}"
    done = table(args).with_columns(said=sw.map(template)).collect(progress=False)
    return [list(row) for row in done.rows()]


def extract(args: Namespace) -> list[Any]:
    done = table(args).with_columns(said=sw.extract("text", Product)).collect(progress=False)
    return [list(row) for row in done.rows()]


def join(args: Namespace) -> list[Any]:
    left, right = (sw.frame({"name": names}) for names in data.sides(args.rows))
    statement = contender.SAME + ":\nA: {left.name}\nB: {right.name}"
    done = left.join(right, on=sw.join(statement)).collect(progress=False)
    return [list(row) for row in done.select("name", "name_right").rows()]


def self_join(args: Namespace) -> list[Any]:
    frame = table(args)
    by = sw.classify("text", ["positive", "negative"])
    done = frame.join(frame, on=sw.same(by)).collect(progress=False)
    return [list(row) for row in done.select("text", "text_right").rows()]


def top_k(args: Namespace) -> list[Any]:
    frame = table(args).top_k(args.k, by=contender.DEARER + "\n{text}")
    return frame.collect(progress=False)["text"].to_list()


def table(args: Namespace) -> sw.Frame:
    return sw.frame(pl.DataFrame({"text": data.texts(args.task, args.rows)}))


TASKS = {
    "predicate": predicate,
    "map": map_,
    "extract": extract,
    "join": join,
    "self-join": self_join,
    "top-k": top_k,
}


def main() -> None:
    args = contender.options()
    model = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": args.url}
    model["concurrency"] = args.flight
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "models": {"m": model},
            "default_model": "m",
            "store": f"sqlite:///{folder}/swath.db",
        }
        with sw.Session(config, check=False):
            contender.run(TASKS, args)


if __name__ == "__main__":
    main()
