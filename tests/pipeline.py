"""A run in a process of its own, to be killed: `python -m tests.pipeline CONFIG N OUT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel

import swath as sw


class Argument(BaseModel):
    claim: str
    stance: Literal["for", "against"]
    evidence: sw.Quote


def speeches(rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": range(rows),
            "speech": [
                f"Speech number {i} is on fish. We must act now. The river {i} floods every spring."
                for i in range(rows)
            ],
        }
    )


def pipeline(rows: int, model: str = "fast") -> sw.Frame:
    return sw.frame(speeches(rows)).with_columns(
        argument=sw.extract("speech", Argument, model=model)
    )


if __name__ == "__main__":
    config, rows, out = sys.argv[1:]
    sw.Session(config)
    pipeline(int(rows)).collect().write_parquet(Path(out))
