"""`Ask`: how an operator that needs more than one question puts them. The executor gives it one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from swath.engine.shape import Invalid
from swath.errors import ProviderError
from swath.messages import Completion, Request

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from swath.catalog.model import Model

Check = Callable[[str], Any]
"""Text of an answer in, its value out; raises Invalid with the reason."""

Failed = ProviderError | Invalid
"""A question that got no usable answer: its row fails, the run goes on."""


class Stopped(Exception):
    """The run asks nothing more (budget, Ctrl-C, a refused key). Let it pass, or return what is
    whole; what is already under way is answered all the same."""


class Sizes(Protocol):
    """What can be told without asking."""

    @property
    def default(self) -> str:
        """The alias of the default model."""
        ...

    def model(self, alias: str) -> Model:
        """The catalogue's entry: window, price, limits."""
        ...

    def tokens(self, request: Request) -> float:
        """Input tokens that `request` would take, about."""
        ...


class Ask(Sizes, Protocol):
    """Bounds what is in flight, counts it, and stops with the run: gather as many as you like."""

    def note(self, text: str, times: int = 1) -> None:
        """For the run's notes: what was done differently from what was asked. No prompt text."""
        ...

    async def __call__(
        self, request: Request, check: Check | None = None, fallback: Sequence[str] = ()
    ) -> Completion:
        """One answer, from the store or the model; `parsed` is what `check` made of it.

        Raises ProviderError, Invalid, Stopped."""
        ...

    async def many(
        self,
        requests: Sequence[Request | None],
        check: Check | None = None,
        fallback: Sequence[str] = (),
    ) -> list[Completion | Failed | None]:
        """The answers in order: equal questions are asked once, None stays None, and a question
        that failed gives its error in place. Raises Stopped."""
        ...

    async def embed(
        self, texts: Sequence[str], model: str, dimensions: int | None = None
    ) -> npt.NDArray[np.float32]:
        """A vector a text, shape (texts, dimensions), of length 1. Raises ProviderError, Stopped.

        Needs numpy: MissingExtra says so."""
        ...

    def failed(self, position: int, reason: Failed | str) -> None:
        """The row at `position` of the (first) table failed. For operators over whole tables."""
        ...

    def done(self, count: int, total: int | None = None) -> None:
        """`count` more of `total` steps are done: for the bar."""
        ...
