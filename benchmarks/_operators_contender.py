"""What the contenders of `benchmarks.operators` share: their options, and what they hand back.

A contender is `python -m benchmarks._operators_NAME` in an environment of its own. It does one task
and writes the answers to `--out` as JSON; the last line it prints is the meter's. Standard library
only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import _operators_data as data
from benchmarks._report import Meter

STATEMENT = "The message is about a card"
HEADING = "Give the text's first five words, and nothing else"
MAKER = "The product's maker, its name's first word"
CODE = "The product's code, which follows the name's last dash"
SAME = "Both are the same product"
SENTIMENT = "Both reviews express the same sentiment"
DEARER = "Which product costs more?"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--task", required=True, choices=list(data.MEASURES))
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--k", type=int, default=data.K)
    parser.add_argument("--flight", type=int, default=64)
    parser.add_argument("--encoder", type=Path, help="LOTUS: a folder; its join is a cascade")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def run(tasks: Mapping[str, Callable[[argparse.Namespace], list[Any]]], args: Any) -> None:
    """Do the task; imports and tables are not in the time."""
    with Meter() as meter:
        answers = tasks[args.task](args)
    args.out.write_text(json.dumps(answers))
    meter.tell(args.rows)
