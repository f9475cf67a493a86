"""A lazy table: Polars' own expressions, plus operators that are model calls."""

from __future__ import annotations

from swath.frames.frame import Frame
from swath.frames.readers import (
    frame,
    read_csv,
    read_ipc,
    read_json,
    read_jsonl,
    read_parquet,
)
from swath.frames.result import FrameRun

__all__ = [
    "Frame",
    "FrameRun",
    "frame",
    "read_csv",
    "read_ipc",
    "read_json",
    "read_jsonl",
    "read_parquet",
]
