"""One file that holds the whole report, and opens from a folder without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swath import __version__
from swath.errors import OutputError
from swath.evals.report.payload import payload

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison

STYLES = ("page.css", "explorer.css")
SCRIPTS = ("base.js", "overview.js", "charts.js", "cells.js", "explorer.js", "label.js", "main.js")


def write(comparison: Comparison, path: str | Path) -> Path:
    """Write the report to `path`: HTML that asks nothing of any server. Gives its full path.

    Raises OutputError where it cannot be written.
    """
    target = Path(path).expanduser()
    text = page(comparison)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The report cannot be written to {target}: {error.strerror}.",
            hint="Name a file in a folder you may write to, as report.html.",
        ) from None
    return target.resolve()


def page(comparison: Comparison) -> str:
    """The report as HTML. A policy in its head forbids every request and every script but its
    own, so that text from the data stays text even if the escaping should fail."""
    style, script = _assets()
    parts = {
        "title": html.escape(_title(comparison)),
        "version": __version__,
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": embedded(payload(comparison)),
    }
    # One pass: a placeholder's like in the data is not replaced.
    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], _read("page.html"))


def embedded(value: Any) -> str:
    """JSON that may stand in a <script> element: no `<` in it can open or close a tag. Lone
    surrogates, which UTF-8 cannot hold, are escaped too."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _title(comparison: Comparison) -> str:
    return comparison.name or f"{comparison.column}: {len(comparison.models)} models compared"


@cache
def _assets() -> tuple[str, str]:
    """Styles and scripts, each as one text; scripts share one function's scope."""
    style = "\n".join(_read(name) for name in STYLES)
    script = "\n".join(_read(name) for name in SCRIPTS)
    return style, f'(() => {{\n"use strict";\n{script}\n}})();'


def _read(name: str) -> str:
    return (files("swath.evals.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
