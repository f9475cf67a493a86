"""Routing: the cheapest model that is good enough, learned and measured.

    from swath import routing

    router = routing.train(table, "difficulty")     # rows of prompt, model, quality (and source)
    routing.save(router, "my.router")
    routing.load("default").score(["Prove that there are infinitely many primes."])

Names load when they are first used: they bring numpy along, which the extra `routing` installs.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from swath.errors import MissingExtra

if TYPE_CHECKING:
    from swath.routing.artifact import ArtifactError as ArtifactError
    from swath.routing.artifact import save as save
    from swath.routing.calibrate import drift as drift
    from swath.routing.calibrate import for_budget as for_budget
    from swath.routing.calibrate import for_quality as for_quality
    from swath.routing.calibrate import for_share as for_share
    from swath.routing.decide import by_threshold as by_threshold
    from swath.routing.decide import by_value as by_value
    from swath.routing.decide import within_budget as within_budget
    from swath.routing.graded import Graded as Graded
    from swath.routing.kinds import KINDS as KINDS
    from swath.routing.router import Explanation as Explanation
    from swath.routing.router import Router as Router
    from swath.routing.training import load as load
    from swath.routing.training import train as train
    from swath.routing.training_data import of_comparison as of_comparison
    from swath.routing.training_data import of_golden as of_golden
    from swath.routing.training_data import of_pairs as of_pairs

if find_spec("numpy") is None:
    raise MissingExtra("Routing", "routing")

_HOMES = {
    "artifact": ("ArtifactError", "save"),
    "calibrate": ("drift", "for_budget", "for_quality", "for_share"),
    "decide": ("by_threshold", "by_value", "within_budget"),
    "graded": ("Graded",),
    "kinds": ("KINDS",),
    "router": ("Explanation", "Router"),
    "training": ("load", "train"),
    "training_data": ("of_comparison", "of_golden", "of_pairs"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'swath.routing' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"swath.routing.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
