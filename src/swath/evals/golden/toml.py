"""A golden file as TOML, read strictly: every mistake names its key and its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from swath.errors import InputError, listing

T = TypeVar("T")
Key = tuple[str | int, ...]


class GoldenError(InputError):
    """A golden file, or what it names, is unusable: not the same as a check that fails."""


class Source:
    """A file's text, and on which line each key stands."""

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self._lines = _lines(text)

    def where(self, key: Key) -> str:
        """` (line 7 of golden.toml)` for a key, or for the nearest one around it."""
        for end in range(len(key), 0, -1):
            if key[:end] in self._lines:
                return f" (line {self._lines[key[:end]]} of {self.name})"
        return f" (in {self.name})"


class Table:
    """One table of the file. Each `take_…` reads a key and checks its type; `done` complains of
    keys that nobody took."""

    def __init__(self, source: Source, key: Key, values: Mapping[str, Any]) -> None:
        self._source = source
        self._key = key
        self._left = dict(values)
        self._known: list[str] = []

    @property
    def title(self) -> str:
        """As it is headed in the file: `[operator]`, `[[checks]]`."""
        names = ".".join(part for part in self._key if isinstance(part, str))
        if not names:
            return "the file"
        return f"[[{names}]]" if isinstance(self._key[-1], int) else f"[{names}]"

    @property
    def where(self) -> str:
        return self._source.where(self._key)

    def values(self) -> dict[str, Any]:
        """All of it, as it stands."""
        return self._left

    def wrong(self, key: str, message: str, hint: str = "") -> NoReturn:
        where = self._source.where((*self._key, key) if key else self._key)
        raise GoldenError(f"{message}{where}.", hint=hint)

    def has(self, key: str) -> bool:
        return key in self._left

    def text(self, key: str, default: T = None) -> str | T:  # type: ignore[assignment]
        value: str | T = self._take(key, str, "a text", default)
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value: bool = self._take(key, bool, "true or false", default)
        return value

    def number(self, key: str, default: T = None) -> float | T:  # type: ignore[assignment]
        value = self._take(key, (int, float), "a number", default, but=bool)
        return float(value) if isinstance(value, int | float) else value

    def share(self, key: str, default: T = None) -> float | T:  # type: ignore[assignment]
        """A number from 0 to 1."""
        value = self.number(key, default)
        if isinstance(value, float) and not 0 <= value <= 1:
            self.wrong(key, f"'{key}' is {value:g}, and must lie between 0 and 1")
        return value

    def whole(self, key: str, default: T = None, least: int = 0) -> int | T:  # type: ignore[assignment]
        value: int | T = self._take(key, int, "a whole number", default, but=bool)
        if isinstance(value, int) and value < least:
            self.wrong(key, f"'{key}' is {value}, and must be at least {least}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one; () where there is none."""
        value = self._take(key, (str, list), "a list of texts", [])
        given = [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in given):
            self.wrong(key, f"'{key}' must be a list of texts")
        return tuple(given)

    def any(self, key: str) -> Any:
        return self._take(key, object, "a value", None)

    def table(self, key: str) -> Table | None:
        value = self._take(key, dict, "a table", None)
        return None if value is None else Table(self._source, (*self._key, key), value)

    def either(self, key: str) -> str | Table | None:
        """A text, or a table."""
        value = self._take(key, (str, dict), "a text or a table", None)
        return Table(self._source, (*self._key, key), value) if isinstance(value, dict) else value

    def tables(self, key: str) -> list[Table]:
        value = self._take(key, list, f"a list of tables, [[{key}]]", [])
        if not all(isinstance(item, dict) for item in value):
            self.wrong(key, f"'{key}' must be a list of tables, [[{key}]]")
        return [Table(self._source, (*self._key, key, i), item) for i, item in enumerate(value)]

    def mapping(self, key: str) -> dict[str, str]:
        """A table of texts."""
        value: dict[str, Any] = self._take(key, dict, "a table of texts", {})
        for name, item in value.items():
            if not isinstance(item, str):
                self.wrong(key, f"'{key}.{name}' must be a text")
        return value

    def required(self, key: str, example: str) -> NoReturn:
        self.wrong("", f"{self.title} needs '{key}'", f"For example {key} = {example}.")

    def one_of(self, key: str, value: str, known: Iterable[str], what: str) -> NoReturn:
        self.wrong(key, f"There is no {what} '{value}'", listing(known, value))

    def done(self) -> None:
        for key in self._left:
            self.wrong(key, f"{self.title} has no key '{key}'", listing(self._known, key))

    def _take(self, key: str, kind: Any, what: str, default: Any, but: type | None = None) -> Any:
        self._known.append(key)
        if key not in self._left:
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind) or (but is not None and isinstance(value, but)):
            self.wrong(key, f"'{key}' must be {what}, not {_named(value)}")
        return value


def open_table(path: Path) -> Table:
    """The file's own table. Raises GoldenError with the line where it is no TOML."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise GoldenError(
            f"The golden file '{path}' cannot be read: {error.strerror}.",
            hint="See docs/golden.md for what it holds.",
        ) from None
    except UnicodeDecodeError:
        raise GoldenError(f"'{path}' is not UTF-8 text.", hint="Save it as UTF-8.") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GoldenError(f"'{path.name}' is not valid TOML: {error}.", hint="Mend it.") from None
    return Table(Source(path.name, text), (), values)


def _named(value: Any) -> str:
    kinds = {str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "a table")


_HEAD = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_PAIR = re.compile(r"""\s*([A-Za-z0-9_.\-"' ]+?)\s*=""")


def _lines(text: str) -> dict[Key, int]:
    """Line numbers by key. Not a parser: what it takes for a key inside of a text is in no table,
    and nobody asks for it."""
    found: dict[Key, int] = {}
    at: Key = ()
    count: dict[Key, int] = {}
    open_quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if open_quote:
            if line.count(open_quote) % 2:
                open_quote = ""
            continue
        if head := _HEAD.match(line):
            at = _split(head[2])
            if head[1] == "[[":
                count[at] = count.get(at, -1) + 1
                found.setdefault(at, number)
                at = (*at, count[at])
            elif at[:-1] in count:  # a table within the newest of a list
                at = (*at[:-1], count[at[:-1]], at[-1])
            found.setdefault(at, number)
        elif pair := _PAIR.match(line):
            found.setdefault((*at, *_split(pair[1])), number)
        for quote in ('"""', "'''"):
            if line.count(quote) % 2:
                open_quote = quote
    return found


def _split(dotted: str) -> Key:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
