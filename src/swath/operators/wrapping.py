"""`Wrapping`: an operator that puts another one's questions, to models that it chooses itself."""

from __future__ import annotations

from typing import Any

import polars as pl

from swath.messages import Completion, Request
from swath.operators.base import Check, Operator


class Wrapping(Operator):
    """A subclass sets `operator`; type, questions and the reading of answers are that one's."""

    operator: Operator

    @property
    def dtype(self) -> pl.DataType:
        return self.operator.dtype

    def ask(self, text: str, model: str) -> Request:
        return self.operator.ask(text, model)

    @property
    def check(self) -> Check | None:
        return self.operator.check

    def value(self, completion: Completion) -> Any:
        return self.operator.value(completion)
