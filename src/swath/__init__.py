"""Swath: run language models over tables, across many providers, reliably and cheaply.

Names load when they are first used, so that `import swath` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from swath import recipes as recipes
    from swath.api import acomplete as acomplete
    from swath.api import complete as complete
    from swath.api import stream as stream
    from swath.engine.run import Metrics as Metrics
    from swath.errors import BudgetReached as BudgetReached
    from swath.errors import ColumnNotFound as ColumnNotFound
    from swath.errors import ConfigError as ConfigError
    from swath.errors import InputError as InputError
    from swath.errors import Interrupted as Interrupted
    from swath.errors import KeyMissing as KeyMissing
    from swath.errors import MissingExtra as MissingExtra
    from swath.errors import OutputError as OutputError
    from swath.errors import ProviderError as ProviderError
    from swath.errors import StoreError as StoreError
    from swath.errors import SwathError as SwathError
    from swath.errors import UnknownModel as UnknownModel
    from swath.errors import WeightsError as WeightsError
    from swath.evals.attribution import Attribution as Attribution
    from swath.evals.attribution import attribute as attribute
    from swath.evals.compare import compare as compare
    from swath.evals.comparison import Comparison as Comparison
    from swath.evals.comparison import JudgeTrust as JudgeTrust
    from swath.evals.golden.run import golden as golden
    from swath.evals.judge import Judge as Judge
    from swath.evals.judge import judge as judge
    from swath.frames import Frame as Frame
    from swath.frames.ledger import calls as calls
    from swath.frames.ledger import runs as runs
    from swath.frames.readers import frame as frame
    from swath.frames.readers import read_csv as read_csv
    from swath.frames.readers import read_ipc as read_ipc
    from swath.frames.readers import read_json as read_json
    from swath.frames.readers import read_jsonl as read_jsonl
    from swath.frames.readers import read_parquet as read_parquet
    from swath.messages import Chunk as Chunk
    from swath.messages import Completion as Completion
    from swath.messages import Message as Message
    from swath.messages import Request as Request
    from swath.messages import Tool as Tool
    from swath.messages import Usage as Usage
    from swath.operators import Quote as Quote
    from swath.operators import async_udf as async_udf
    from swath.operators import auto as auto
    from swath.operators import cascade as cascade
    from swath.operators import classify as classify
    from swath.operators import cluster as cluster
    from swath.operators import dedupe as dedupe
    from swath.operators import embed as embed
    from swath.operators import extract as extract
    from swath.operators import join as join
    from swath.operators import map as map
    from swath.operators import predicate as predicate
    from swath.operators import reduce as reduce
    from swath.operators import same as same
    from swath.operators import sentiment as sentiment
    from swath.operators import summarize as summarize
    from swath.operators import topics as topics
    from swath.prompting.history import prompt as prompt
    from swath.prompting.history import prompts as prompts
    from swath.prompting.prompt import Prompt as Prompt
    from swath.session import Session as Session

_HOMES = {
    "swath.api": ("acomplete", "complete", "stream"),
    "swath.engine.run": ("Metrics",),
    "swath.errors": (
        "BudgetReached",
        "ColumnNotFound",
        "ConfigError",
        "InputError",
        "Interrupted",
        "KeyMissing",
        "MissingExtra",
        "OutputError",
        "ProviderError",
        "StoreError",
        "SwathError",
        "UnknownModel",
        "WeightsError",
    ),
    "swath.evals.attribution": ("Attribution", "attribute"),
    "swath.evals.compare": ("compare",),
    "swath.evals.comparison": ("Comparison", "JudgeTrust"),
    "swath.evals.golden.run": ("golden",),
    "swath.evals.judge": ("Judge", "judge"),
    "swath.prompting.history": ("prompt", "prompts"),
    "swath.prompting.prompt": ("Prompt",),
    "swath.frames": ("Frame",),
    "swath.frames.ledger": ("calls", "runs"),
    "swath.frames.readers": (
        "frame",
        "read_csv",
        "read_ipc",
        "read_json",
        "read_jsonl",
        "read_parquet",
    ),
    "swath.messages": ("Chunk", "Completion", "Message", "Request", "Tool", "Usage"),
    "swath.operators": (
        "Quote",
        "async_udf",
        "auto",
        "cascade",
        "classify",
        "cluster",
        "dedupe",
        "embed",
        "extract",
        "join",
        "map",
        "predicate",
        "reduce",
        "same",
        "sentiment",
        "summarize",
        "topics",
    ),
    "swath.session": ("Session",),
}
_MODULES = ("recipes",)
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'swath' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
