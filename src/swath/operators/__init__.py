"""Operators: immutable values that stand for a model call per row. One file each.

Adding one is a new file with a subclass of `base.Operator`, and its test: the plan, the optimizer
and the executor know an operator only by what `base` declares.

The public functions load when they are first used: `Quote` and schemas serve those who never open
a table. They share their names with the files they live in, hence the module class, which binds
the function where an import would bind the file.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from swath.operators.quote import Quote as Quote

if TYPE_CHECKING:
    from swath.operators.auto import auto as auto
    from swath.operators.cascade import cascade as cascade
    from swath.operators.classify import classify as classify
    from swath.operators.cluster import cluster as cluster
    from swath.operators.dedupe import dedupe as dedupe
    from swath.operators.embed import embed as embed
    from swath.operators.extract import extract as extract
    from swath.operators.join import join as join
    from swath.operators.join import same as same
    from swath.operators.map import map as map
    from swath.operators.predicate import predicate as predicate
    from swath.operators.reduce import reduce as reduce
    from swath.operators.sentiment import sentiment as sentiment
    from swath.operators.summarize import summarize as summarize
    from swath.operators.topics import topics as topics
    from swath.operators.udf import async_udf as async_udf

_FILES = {
    "async_udf": "udf",
    "auto": "auto",
    "cascade": "cascade",
    "classify": "classify",
    "cluster": "cluster",
    "dedupe": "dedupe",
    "embed": "embed",
    "extract": "extract",
    "join": "join",
    "map": "map",
    "predicate": "predicate",
    "reduce": "reduce",
    "same": "join",
    "sentiment": "sentiment",
    "summarize": "summarize",
    "topics": "topics",
}
__all__ = ["Quote", *_FILES]


class _Functions(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FILES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _FILES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{_FILES[name]}"), name)
        self.__dict__[name] = value
        return value


sys.modules[__name__].__class__ = _Functions
