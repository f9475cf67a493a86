"""A lazy table: Polars' own expressions, plus operators that are model calls.

`swath.frame` is at once this package and the function that makes a frame, so the package is
callable: whichever of the two an import has bound, `swath.frame(data)` works.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from swath.frame.frame import Frame
from swath.frame.readers import (
    frame,
    read_csv,
    read_ipc,
    read_json,
    read_jsonl,
    read_parquet,
)
from swath.frame.result import FrameRun

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


class _Callable(ModuleType):
    def __call__(self, data: Any) -> Frame:
        return frame(data)


sys.modules[__name__].__class__ = _Callable
