"""LOTUS as a contender of `benchmarks.operators`. Runs in an environment of its own.

With `--encoder` its join is its cascade: pairs are ranked by the likeness of their embeddings, by
the encoder that Swath uses, and thresholds are learned on a sample. Without, it asks about all.
"""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else fetched from the internet

import lotus
import numpy as np
import pandas as pd
from lotus.models import LM, RM
from lotus.types import CascadeArgs
from lotus.vector_store import FaissVS

from benchmarks import _operators_contender as contender
from benchmarks import _operators_data as data

# What Swath's join aims at. Which of its two plans is cheaper, LOTUS finds out.
CASCADE = CascadeArgs(recall_target=0.98, precision_target=0.98, failure_probability=0.05)


class Encoder(RM):
    """The encoder in `folder`, as LOTUS takes them: texts to vectors of length 1."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        super().__init__()
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()
        self.inputs = [entry.name for entry in self.session.get_inputs()]

    def _embed(self, docs: list[str]) -> Any:
        parts = [self.batch(docs[i : i + 32]) for i in range(0, len(docs), 32)]
        return np.vstack(parts)

    def batch(self, docs: list[str]) -> Any:
        encoded = self.tokenizer.encode_batch([str(doc) for doc in docs])
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self.session.run(None, {name: given[name] for name in self.inputs})[0]
        weights = mask[:, :, None].astype(states.dtype)
        means = (states * weights).sum(axis=1) / weights.sum(axis=1)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def predicate(args: Namespace) -> list[Any]:
    kept = table(args).sem_filter(contender.STATEMENT + ": {text}")
    return list(kept["text"])


def map_(args: Namespace) -> list[Any]:
    done = table(args).sem_map(contender.HEADING + ": {text}", suffix="said")
    return [list(row) for row in zip(done["text"], done["said"], strict=True)]


def extract(args: Namespace) -> list[Any]:
    columns = {"maker": contender.MAKER, "code": contender.CODE}
    done = table(args).sem_extract(["text"], columns)
    said = done.reindex(columns=list(columns)).fillna("").to_dict("records")  # none could be read
    return [list(row) for row in zip(done["text"], said, strict=True)]


def join(args: Namespace) -> list[Any]:
    left, right = (pd.DataFrame({"name": names}) for names in data.sides(args.rows))
    statement = contender.SAME + ": {name:left} and {name:right}"
    done = left.sem_join(right, statement, cascade_args=CASCADE if args.encoder else None)
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
    if args.encoder:
        lotus.settings.configure(lm=lm, rm=Encoder(args.encoder), vs=FaissVS())
        os.chdir(args.out.parent)  # it leaves its index where it runs
    else:
        lotus.settings.configure(lm=lm)
    contender.run(TASKS, args)


if __name__ == "__main__":
    main()
