"""Which alias of the config each model of a router is, and which are the weak and the strong one.

By `[router] models`, by the same name, or, of a router for two models, by which of them is the
better one; where the config has only two models their prices tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from swath.catalog.models import Models
from swath.catalog.routed import ROUTED, blended
from swath.config import RouterConfig

if TYPE_CHECKING:
    from swath.routing.router import Learned


class Naming:
    """`columns` are the router's models that have an alias, by their place; `pair` is the weak and
    the strong alias, None where nothing tells. Without a router there are no columns."""

    def __init__(self, router: Learned | None, config: RouterConfig, models: Models) -> None:
        self.router = router
        self._config = config
        self._models = models
        self.names = () if router is None else router.models
        self.columns = self._columns()
        self.pair = self._pair(self.columns)

    def _columns(self) -> dict[int, str]:
        """The router's models that have an alias, by their place."""
        found: dict[int, str] = {}
        for place, name in enumerate(self.names):
            alias = self._alias(name)
            if alias is not None and alias not in found.values():
                found[place] = alias
        return found

    def _alias(self, name: str) -> str | None:
        config = self._config
        if name in config.models:
            return config.models[name]
        if name in self._models and self._models[name].provider != ROUTED:
            return name
        weak, strong = self._ends()
        named = (config.weak, config.strong)
        weak_alias, strong_alias = named if all(named) else (self._inferred() or (None, None))
        return {weak: weak_alias, strong: strong_alias}.get(name)

    def _ends(self) -> tuple[str | None, str | None]:
        """The router's own names of its weak and strong model, where it has two or is calibrated
        for two."""
        if self.router is None:
            return None, None
        if self.router.calibration is not None:
            return self.router.calibration.weak, self.router.calibration.strong
        if len(self.router.models) != 2:
            return None, None
        mean = self.router.training.get("mean_quality") or {}
        first, second = self.router.models
        if second == "weak" or mean.get(first, 0.0) > mean.get(second, 0.0):
            first, second = second, first
        return first, second

    def _pair(self, columns: Mapping[int, str]) -> tuple[str, str] | None:
        """The weak and the strong alias."""
        config, names = self._config, self.names
        if config.weak is not None and config.strong is not None:
            return config.weak, config.strong
        by_name = {names[place]: alias for place, alias in columns.items()}
        weak, strong = self._ends()
        if weak in by_name and strong in by_name:
            return by_name[weak], by_name[strong]
        return self._inferred()

    def _inferred(self) -> tuple[str, str] | None:
        """The config's two models, where it has no more and their prices tell which is strong."""
        aliases = self._models.configured_names
        if len(aliases) != 2:
            return None
        prices = {alias: blended(self._models[alias]) for alias in aliases}
        first, second = sorted(aliases, key=lambda a: prices[a] or 0.0)
        low, high = prices[first], prices[second]
        return (first, second) if low is not None and high is not None and low < high else None
