"""`Prompt`: a text with a name and a history. It is a `str`, so it goes wherever a text goes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from swath.errors import InputError

if TYPE_CHECKING:
    from swath.session import Session
    from swath.store import PromptRow

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_ID = re.compile(r"[0-9a-f]{12}")
_FIELDS = (
    "at", "id", "instructions", "name", "parents", "promoted", "schema", "tags", "version",
)  # fmt: skip


class Prompt(str):
    """A version of a named prompt: a template, or instructions. Immutable.

        reply = sw.Prompt("Answer this customer: {text}", name="reply")
        frame.with_columns(reply=sw.map(reply))

    It is the text itself (a `str`) and goes wherever one goes: `sw.map(p)`, `sw.predicate(p)`,
    `sw.extract(…, instructions=p)`, `sw.classify(…, instructions=p)`. As a template it may bring
    its own `instructions` (the system message) and, for `map`, a `schema` (what `response=` takes),
    which count where the operator is given none.

    `id` is a hash of text, instructions and schema: equal content is the same version. A run saves
    the prompts it uses, and the store knows from then on which answers came from which version;
    `save()` does it at once. `parent` is the prompt, or the id, that it was made from; by default
    the newest version of the name when it is saved. `version` (1, 2, …), `at` (Unix time) and
    `promoted` are known once it is saved, None and False before. Raises InputError.
    """

    __slots__ = _FIELDS

    at: float | None
    id: str
    instructions: str | None
    name: str
    parents: tuple[str, ...]
    promoted: bool
    schema: Any
    tags: tuple[str, ...]
    version: int | None

    def __new__(
        cls,
        text: str,
        *,
        name: str,
        instructions: str | None = None,
        schema: Any = None,
        tags: Iterable[str] = (),
        parent: str | Iterable[str] | None = None,
    ) -> Prompt:
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise InputError(
                "A prompt needs a text.", hint='Write sw.Prompt("Answer: {text}", name="reply").'
            )
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"'{name}' is no name for a prompt.",
                hint="Use letters, digits, and _ - . / within it.",
            )
        said = str(instructions) if instructions else None
        shape = "" if schema is None else _schema_text(schema)
        return _made(
            str(text),
            id=content_id(str(text), said or "", shape),
            name=name,
            instructions=said,
            schema=schema,
            tags=_tags(tags),
            parents=_parents(parent),
            at=None,
            promoted=False,
            version=None,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A prompt does not change: make another with .edit({name}=…).")

    def __reduce__(self) -> Any:
        return _made_again, (str(self), {name: getattr(self, name) for name in _FIELDS})

    def __repr__(self) -> str:
        start = str(self) if len(self) <= 60 else f"{str(self)[:57]}…"
        promoted = ", promoted" if self.promoted else ""
        return f"Prompt({start!r}, {self.ref}{promoted})"

    @property
    def ref(self) -> str:
        """How to name it in commands: `reply@2`; by its id where it has no number yet."""
        return f"{self.name}@{self.id if self.version is None else self.version}"

    @property
    def schema_text(self) -> str:
        """The schema as JSON, "" where there is none."""
        return "" if self.schema is None else _schema_text(self.schema)

    def edit(
        self,
        text: str | None = None,
        *,
        instructions: str | None = None,
        schema: Any = None,
        tags: Iterable[str] = (),
    ) -> Prompt:
        """The next version: this prompt with other words, and this one as its parent."""
        return Prompt(
            str(self) if text is None else text,
            name=self.name,
            instructions=self.instructions if instructions is None else instructions,
            schema=self.schema if schema is None else schema,
            tags=tags,
            parent=self,
        )

    def diff(self, newer: Prompt) -> str:
        """What changed from this to `newer`, word by word: `[-gone-]` and `{+new+}`."""
        from swath.prompting.diff import plain

        return plain(self, newer)

    def save(self, session: Session | None = None) -> Prompt:
        """Into the store, once; gives the prompt with its version number."""
        from swath.prompting.history import save

        return save(self, session)

    def promote(self, session: Session | None = None) -> Prompt:
        """Saved, and from now on what `sw.prompt(name)` gives."""
        from swath.prompting.history import promote

        return promote(self, session)


def content_id(text: str, instructions: str, schema: str) -> str:
    """12 hexadecimal digits that two prompts share exactly when their content is the same."""
    content = msgspec.json.encode([text, instructions, schema])
    return blake2b(content, digest_size=6).hexdigest()


def from_row(row: PromptRow, promoted: bool = False) -> Prompt:
    """A stored version. A schema comes back as JSON Schema: a class' own validators stay behind."""
    return _made(
        row.text,
        id=row.id,
        name=row.name,
        instructions=row.instructions or None,
        schema=msgspec.json.decode(row.schema) if row.schema else None,
        tags=tuple(msgspec.json.decode(row.tags)),
        parents=tuple(msgspec.json.decode(row.parents)),
        at=row.at,
        promoted=promoted,
        version=row.version,
    )


def _made(text: str, **fields: Any) -> Prompt:
    prompt = str.__new__(Prompt, text)
    for name, value in fields.items():
        object.__setattr__(prompt, name, value)
    return prompt


def _made_again(text: str, fields: dict[str, Any]) -> Prompt:
    return _made(text, **fields)


def _schema_text(schema: Any) -> str:
    from swath.operators.schema import shape_of

    shape = shape_of(schema)
    if shape.wrapped:
        raise InputError(
            "A prompt's schema must be one with named fields.",
            hint="Wrap it in a Pydantic model: class Answer(BaseModel): items: list[…].",
        )
    titled = {"title": shape.schema.name, **shape.schema.json}
    return msgspec.json.encode(titled).decode()


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    given = (tags,) if isinstance(tags, str) else tuple(tags)
    if not all(isinstance(tag, str) and tag.strip() for tag in given):
        raise InputError("Tags are texts.", hint='For example tags=["shorter", "polite"].')
    return tuple(dict.fromkeys(given))


def _parents(parent: str | Iterable[str] | None) -> tuple[str, ...]:
    if parent is None:
        return ()
    given = (parent,) if isinstance(parent, str) else tuple(parent)
    ids = tuple(p.id if isinstance(p, Prompt) else p for p in given)
    for id in ids:
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise InputError(
                f"parent={id!r} is no prompt.",
                hint='Give the prompt itself, sw.prompt("reply@2"), or its id of 12 digits.',
            )
    return ids
