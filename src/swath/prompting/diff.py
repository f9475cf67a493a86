"""What changed between two prompts: word by word, as git's --word-diff shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.text import Text

    from swath.prompting.prompt import Prompt

Mark = Literal["same", "gone", "new"]
_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")


def pieces(old: str, new: str) -> list[tuple[Mark, str]]:
    """`old` and `new` as one run of pieces: those that are not "new" make `old`, those that are not
    "gone" make `new`."""
    a, b = _TOKENS.findall(old), _TOKENS.findall(new)
    found: list[tuple[Mark, str]] = []
    for tag, i, j, k, n in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            found.append(("same", "".join(a[i:j])))
            continue
        found += [("gone", "".join(a[i:j]))] if j > i else []
        found += [("new", "".join(b[k:n]))] if n > k else []
    return found


def parts(old: Prompt, new: Prompt) -> Iterator[tuple[str, list[tuple[Mark, str]]]]:
    """(title, pieces) of each part that differs; the text always."""
    yield "text", pieces(str(old), str(new))
    for title, was, now in (
        ("instructions", old.instructions or "", new.instructions or ""),
        ("schema", old.schema_text, new.schema_text),
    ):
        if was != now:
            yield title, pieces(was, now)


def plain(old: Prompt, new: Prompt) -> str:
    """For a pipe, or a string: `[-gone-]` and `{+new+}`."""
    shown = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    lines = [f"{old.ref} → {new.ref}"]
    for title, changes in parts(old, new):
        body = "".join(shown[mark].format(piece) for mark, piece in changes)
        lines.append(body if title == "text" else f"{title}: {body}")
    return "\n".join(lines)


def coloured(old: Prompt, new: Prompt) -> Text:
    """For a terminal: gone in red and struck through, new in green."""
    from rich.text import Text

    styles = {"same": "", "gone": "red strike", "new": "green"}
    text = Text(f"{old.ref} → {new.ref}\n", style="bold")
    for title, changes in parts(old, new):
        if title != "text":
            text.append(f"\n\n{title}: ", style="bold not italic")
        for mark, piece in changes:
            text.append(piece, style=styles[mark] or "not bold")
    return text
