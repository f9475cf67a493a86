"""`Quote`: a piece of text that must occur word for word in the row's own text."""

from __future__ import annotations

from typing import Annotated

from pydantic import WithJsonSchema

# An annotated `str`, so that values stay plain strings, `list[Quote]` and `Quote | None` work, and
# a `Field(description=…)` still adds its own. The format is what the engine grounds by.
Quote = Annotated[str, WithJsonSchema({"type": "string", "format": "quote"})]
