"""`summarize`: a text in few words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from swath.errors import InputError
from swath.messages import Message, Request
from swath.operators import tree
from swath.operators.asking import Ask, Sizes
from swath.operators.base import ModelChoice, Operator

_ONLY = "Give the summary alone."
_PIECE = "The text is one piece of a longer one: keep what matters for the whole."
_JOIN = (
    "What follows are summaries of the pieces of one text, in order. Make one summary of them{}."
)


class Summarize(Operator):
    kind = "summarize"
    single = False

    def __init__(
        self,
        text: str | pl.Expr,
        *,
        words: int,
        style: str | None,
        instructions: str | None,
        **common: Any,
    ) -> None:
        super().__init__(text, **common)
        self.words = words
        self.style = style
        self.instructions = instructions

    @property
    def dtype(self) -> pl.DataType:
        return pl.String()

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.words, self.style, self.instructions)

    @cached_property
    def system(self) -> str:
        style = f" {self.style.strip().rstrip('.')}." if self.style else ""
        task = f"Summarize the text in at most {self.words} words.{style} {_ONLY}"
        return f"{self.instructions}\n\n{task}" if self.instructions else task

    def _about(self, text: str, model: str, note: str = "") -> Request:
        system = f"{self.system}\n\n{note}" if note else self.system
        return Request(
            model=model,
            messages=(Message("system", system), Message("user", text)),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    def ask(self, text: str, model: str) -> Request:
        return self._about(text, model)

    def _tree(self, model: str) -> tree.Tree:
        def join(parts: Sequence[str], last: bool) -> Request:
            note = _JOIN.format("" if last else "; there are more pieces than these")
            return self._about("\n\n".join(parts), model, note)

        return tree.Tree(
            whole=lambda texts: self.ask("".join(texts), model),
            part=lambda texts: self._about("".join(texts), model, _PIECE),
            join=join,
            fallback=self.fallback,
            expected=1.4 * self.words,
        )

    async def answer(self, ask: Ask, request: Request) -> Any:
        text = request.messages[-1].content
        return self.value(await tree.answer(ask, self._tree(request.model), [text]))

    def value(self, completion: Any) -> str:
        return str(completion.text).strip()

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        return tree.questions(sizes, self._tree(request.model), [request.messages[-1].content])


def summarize(
    text: str | pl.Expr,
    *,
    words: int = 50,
    style: str | None = None,
    model: ModelChoice = None,
    instructions: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Summarize:
    """`text` in at most about `words` words, as a String column.

    A text that the model's window does not hold is read in pieces, cut between paragraphs and
    sentences, whose summaries are put together; nothing is left out, and the run's notes tell.
    `style` is a sentence: "Write for a child", "In German". For many rows at once: `sw.reduce`.

        sw.summarize("speech", words=30, style="Name the speaker's demand first")

    Raises InputError.
    """
    if words < 1:
        raise InputError(f"A summary of {words} words says nothing.", hint="For example words=50.")
    return Summarize(
        text,
        words=words,
        style=style,
        instructions=instructions,
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
    )
