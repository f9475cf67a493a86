"""The kinds of router, by name. Each is one file, loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from swath.errors import InputError, listing

if TYPE_CHECKING:
    from swath.routing.router import Learned

KINDS = {
    "random": "Random",
    "words": "Words",
    "rules": "Rules",
    "similarity": "Similarity",
    "factorization": "Factorization",
    "neighbours": "Neighbours",
    "boosted": "Boosted",
    "difficulty": "Difficulty",
    "linear": "Linear",
    "ensemble": "Ensemble",
    "transfer": "Transfer",
    "bert": "Bert",
    "causal": "Causal",
    "cascade": "Cascade",
}
"""Name of the kind (and of its module) to the class in it."""


def kind_of(name: str) -> type[Learned]:
    """The class of a kind. Raises InputError that lists what there is."""
    if name not in KINDS:
        raise InputError(f"There is no kind of router '{name}'.", hint=listing(KINDS, name))
    made: type[Learned] = getattr(import_module(f"swath.routing.{name}"), KINDS[name])
    return made
