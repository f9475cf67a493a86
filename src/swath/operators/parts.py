"""`Part`: an operator's question as a part of a bigger one: of several about one text (`fused`), or
of the same about several texts (`packed_question`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swath.engine.quotes import quote_paths
from swath.engine.shape import Invalid, conforming, read_json
from swath.messages import Message, Request, Schema


@dataclass(frozen=True)
class Part:
    """`task` says what is wanted of "the text", which is the row's `column`; `schema` is the JSON
    Schema of the answer, and `read` makes the cell of it (raises Invalid). `exact`: two answers can
    be compared by being equal."""

    column: str
    task: str
    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    exact: bool = True

    @property
    def quotes(self) -> bool:
        """Whether the answer must quote its text."""
        return bool(quote_paths(dict(self.schema)))


TOGETHER = (
    "There are several texts, each under its number. Treat each by itself, as if it were the only "
    "one, and give an answer for every number."
)


def packed_question(part: Part, texts: Sequence[str], request: Request) -> Request:
    """The question of `part` about all `texts` at once; `request` is that about one of them."""
    answer = {
        "type": "object",
        "properties": {"number": {"type": "integer"}, "answer": dict(part.schema)},
        "required": ["number", "answer"],
        "additionalProperties": False,
    }
    schema = Schema(
        "answers",
        {
            "type": "object",
            "properties": {"answers": {"type": "array", "items": answer}},
            "required": ["answers"],
            "additionalProperties": False,
        },
    )
    told = "\n\n".join(f"[{i}]\n{text}" for i, text in enumerate(texts, 1))
    tokens = request.max_tokens
    return Request(
        model=request.model,
        messages=(Message("system", f"{part.task}\n\n{TOGETHER}"), Message("user", told)),
        schema=schema,
        temperature=request.temperature,
        max_tokens=None if tokens is None else tokens * len(texts) + 64,
    )


def packed_answers(part: Part, request: Request, text: str, count: int) -> list[Any]:
    """The cells in the reply to `packed_question`, in order. Raises Invalid where not every text
    has exactly one answer that is one."""
    assert request.schema is not None
    answers = conforming(read_json(text), request.schema)["answers"]
    by_number = {answer["number"]: answer["answer"] for answer in answers}
    if len(answers) != count or by_number.keys() != set(range(1, count + 1)):
        raise Invalid(f"There must be one answer for each number from 1 to {count}.")
    return [part.read(by_number[number]) for number in range(1, count + 1)]
