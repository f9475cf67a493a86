"""What a forecast may know of models before a run gives it an `Ask`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swath.messages import Request
from swath.operators.asking import Sizes

if TYPE_CHECKING:
    from swath.catalog.model import Model
    from swath.session import Session


class _Sizes:
    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def default(self) -> str:
        return self._session.models.default

    def model(self, alias: str) -> Model:
        return self._session.models[alias]

    def tokens(self, request: Request) -> float:
        return self._session.engine.estimate(request).input_tokens


def sizes() -> Sizes:
    """The newest session's."""
    from swath.session import current

    return _Sizes(current())
