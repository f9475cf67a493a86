"""Token counts before they are known: learned per model and per operator from the usage of replies.

Input: bytes of the body times a ratio that starts at one token per four bytes (the customary rule
for English) and follows what the model reports. Output: what this operator has been using.
"""

from __future__ import annotations

from collections.abc import Callable

from swath.catalog.model import Model
from swath.messages import AnyRequest, Request

START_RATIO = 0.25


class _Average:
    """A running mean that leans on a prior at first and forgets slowly; and a high quantile."""

    __slots__ = ("high", "mean", "seen")

    def __init__(self, prior: float) -> None:
        self.mean = prior
        self.high = prior
        self.seen = 0

    def add(self, value: float) -> None:
        self.seen += 1
        self.mean += (value - self.mean) / min(self.seen, 500)
        if self.seen == 1:
            self.high = 1.2 * value
        # Robbins-Monro on the 90th percentile; the step follows the scale of the values.
        step = max(self.mean, 1e-9) * max(0.5 / self.seen**0.5, 0.02)
        self.high += step * (0.9 if value > self.high else -0.1)


class TokenEstimates:
    """`recall(label, alias)` may give the mean output tokens of earlier sessions."""

    def __init__(
        self, recall: Callable[[str, str], float | None] = lambda label, model: None
    ) -> None:
        self._ratio: dict[str, _Average] = {}
        self._output: dict[tuple[str, str], _Average] = {}
        self._recall = recall

    def input(self, model: Model, size: int) -> float:
        ratio = self._ratio.get(model.alias)
        return size * (ratio.mean if ratio else START_RATIO)

    def output(self, label: str, model: Model, request: AnyRequest) -> float:
        """The mean: for estimates of cost."""
        return min(self._of(label, model, request).mean, self._cap(request))

    def output_high(self, label: str, model: Model, request: AnyRequest) -> float:
        """A high quantile: for reservations against a limit."""
        return min(self._of(label, model, request).high, self._cap(request))

    def learn(
        self, label: str, model: Model, request: AnyRequest, size: int, used: tuple[int, int]
    ) -> None:
        """`used`: (input, output) tokens of one answered try."""
        input_tokens, output_tokens = used
        if size and input_tokens:
            ratio = self._ratio.get(model.alias)
            if ratio is None:
                ratio = self._ratio[model.alias] = _Average(START_RATIO)
            ratio.add(input_tokens / size)
        self._of(label, model, request).add(output_tokens)

    def _of(self, label: str, model: Model, request: AnyRequest) -> _Average:
        average = self._output.get((label, model.alias))
        if average is None:
            known = self._recall(label, model.alias) if label else None
            average = _Average(_guess(request) if known is None else known)
            self._output[(label, model.alias)] = average
        return average

    @staticmethod
    def _cap(request: AnyRequest) -> float:
        if isinstance(request, Request):
            return float(request.max_tokens or 1e9)
        return 0.0


def _guess(request: AnyRequest) -> float:
    """Output tokens of an operator never run before."""
    if not isinstance(request, Request):
        return 0.0
    if request.choices:
        return 8.0
    if request.schema is not None:
        return 15.0 + 25.0 * max(len(request.schema.json.get("properties", {})), 1)
    return 200.0
