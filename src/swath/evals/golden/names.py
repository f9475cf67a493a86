"""`module:name` and `file.py:name`: Python objects that a golden file names."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from swath.errors import listing
from swath.evals.golden.toml import Table


def load(table: Table, key: str, name: str, folder: Path) -> Any:
    """The object, from a file beside the golden file or from any module that can be imported (the
    golden file's folder is looked into first). Raises GoldenError with the key's line."""
    where, _, what = name.rpartition(":")
    if not where or not what:
        table.wrong(
            key, f"'{name}' names nothing in Python", "Write file.py:name, or package.module:name."
        )
    try:
        module = _file(folder / where) if where.endswith(".py") else _module(where, folder)
    except (FileNotFoundError, ModuleNotFoundError):
        table.wrong(key, f"There is no '{where}'", f"It is looked for in '{folder}'.")
    except Exception as error:  # whatever the user's own module raises when it is imported
        table.wrong(
            key, f"'{where}' cannot be imported: {type(error).__name__}: {error}".rstrip(".")
        )
    found: Any = module
    for part in what.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")]
            table.wrong(key, f"'{where}' has no '{what}'", listing(names, what))
        found = getattr(found, part)
    return found


def _module(name: str, folder: Path) -> ModuleType:
    here = str(folder.resolve())
    if here not in sys.path:
        sys.path.insert(0, here)
    return import_module(name)


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError
    here = str(path.parent.resolve())
    if here not in sys.path:  # it may import what lies beside it
        sys.path.insert(0, here)
    spec = spec_from_file_location(f"swath_golden_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations are resolved through it
    spec.loader.exec_module(module)
    return module
