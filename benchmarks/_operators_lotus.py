"""LOTUS as a contender of `benchmarks.operators`. Runs in an environment of its own."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else fetched from the internet

import lotus
import pandas as pd
from lotus.models import LM

from benchmarks import _operators_contender as contender
from benchmarks import _operators_data as data


def predicate(args: Namespace) -> list[Any]:
    kept = table(args).sem_filter(contender.STATEMENT + ": {text}")
    return list(kept["text"])


def map_(args: Namespace) -> list[Any]:
    done = table(args).sem_map(contender.HEADING + ": {text}", suffix="said")
    return [list(row) for row in zip(done["text"], done["said"], strict=True)]


def extract(args: Namespace) -> list[Any]:
    columns = {"maker": contender.MAKER, "code": contender.CODE}
    done = table(args).sem_extract(["text"], columns)
    said = done[list(columns)].to_dict("records")
    return [list(row) for row in zip(done["text"], said, strict=True)]


def join(args: Namespace) -> list[Any]:
    left, right = (pd.DataFrame({"name": names}) for names in data.sides(args.rows))
    done = left.sem_join(right, contender.SAME + ": {name:left} and {name:right}")
    return [list(row) for row in zip(done["name:left"], done["name:right"], strict=True)]


def self_join(args: Namespace) -> list[Any]:
    frame = table(args)
    done = frame.sem_join(frame, contender.SENTIMENT + ": {text:left} and {text:right}")
    return [list(row) for row in zip(done["text:left"], done["text:right"], strict=True)]


def top_k(args: Namespace) -> list[Any]:
    return list(table(args).sem_topk(contender.DEARER + " {text}", K=args.k)["text"])


def table(args: Namespace) -> pd.DataFrame:
    return pd.DataFrame({"text": data.texts(args.task, args.rows)})


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
    lm = LM(
        model="openai/gpt-4.1-nano",
        api_base=args.url,
        api_key="none",
        max_batch_size=args.flight,
    )
    lotus.settings.configure(lm=lm)
    contender.run(TASKS, args)


if __name__ == "__main__":
    main()
