"""`--extract`: a schema from a file, `schema.py:Triage` or `schema.json`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from swath.errors import InputError, listing


def load(spec: str) -> Any:
    """The class that `file.py:Name` names, or the JSON Schema in `file.json`. Raises InputError."""
    path, _, name = spec.partition(".py:")
    if name:
        return _class(Path(f"{path}.py"), name)
    file = Path(spec)
    if file.suffix == ".py":
        kinds = _kinds(_module(file))
        example = next(iter(kinds), "Answer")
        raise InputError(
            f"'{spec}' names no class.", hint=f"Write --extract {spec}:{example}. {listing(kinds)}"
        )
    if file.suffix != ".json":
        raise InputError(
            f"The schema '{spec}' is neither Python nor JSON.",
            hint="Give a class in a file, schema.py:Answer, or a JSON Schema, schema.json.",
        )
    return _json(file)


def _json(file: Path) -> Any:
    text = _read(file)
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"The schema '{file}' is not valid JSON: {error.msg} in line {error.lineno}.",
            hint="Mend that line.",
        ) from None
    if not isinstance(schema, dict):
        raise InputError(
            f"The schema '{file}' is no JSON object.",
            hint='Write {"type": "object", "properties": {…}}.',
        )
    return schema


def _class(file: Path, name: str) -> Any:
    module = _module(file)
    found = getattr(module, name, None)
    if found is None:
        raise InputError(f"'{file}' has no class '{name}'.", hint=listing(_kinds(module), name))
    return found


def _kinds(module: ModuleType) -> list[str]:
    """The classes that the file itself defines."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]


def _module(file: Path) -> ModuleType:
    """The file, run as a module. Its folder may be imported from, as with `python file.py`."""
    source = _read(file)
    module = ModuleType("swath_schema")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # annotations are resolved through it
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(compile(source, str(file), "exec"), vars(module))
    except SyntaxError as error:
        raise InputError(
            f"The schema '{file}' is not valid Python: {error.msg} in line {error.lineno}.",
            hint="Mend that line.",
        ) from None
    except Exception as error:
        raise InputError(
            f"The schema '{file}' cannot be imported: {type(error).__name__}: {error}.",
            hint=f"See what is wrong with: python {file}",
        ) from error
    return module


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"The schema '{file}' is not UTF-8 text.", hint="Save it as UTF-8."
        ) from None
    except OSError as error:
        raise InputError(
            f"The schema '{file}' cannot be read: {error.strerror}.",
            hint="Give the path of a .py or .json file.",
        ) from None


def labels(given: str) -> Any:
    """`a,b,c`, or the list or mapping in a JSON file. Raises InputError."""
    if not given.endswith(".json"):
        return [label.strip() for label in given.split(",") if label.strip()]
    file = Path(given)
    try:
        value = json.loads(_read(file))
    except json.JSONDecodeError as error:
        raise InputError(
            f"The labels '{file}' are not valid JSON: {error.msg} in line {error.lineno}.",
            hint="Mend that line.",
        ) from None
    if not isinstance(value, list | dict):
        raise InputError(
            f"The labels '{file}' are neither a list nor a mapping.",
            hint='Write ["card", "loan"], or {"card": "about a payment card", "loan": "…"}.',
        )
    return value
