"""Faults on demand.

The first rule that strikes decides. A rule strikes where all the conditions it names hold;
one that names none strikes always, until its `times` are used up.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from .answers import REFUSAL, Answer

Kind = Literal[
    "429",  # throttled, with the provider's hint when to come back
    "429_no_retry_after",
    "quota",  # out of credit: waiting cannot help
    "500",
    "503",
    "529",
    "hang",  # taken in, never answered
    "slow",  # answered after `delay` more seconds
    "cut",  # the connection ends in the middle of the answer
    "reset",  # the connection ends with no byte of an answer
    "rst",  # the same, by a TCP reset
    "malformed",  # 200, and a body that is no JSON
    "malformed_content",  # a good envelope around an answer that is no JSON
    "wrong_schema",  # JSON, but not the fields that were asked for
    "truncated",  # half the answer, finish reason "length"
    "refusal",
    "content_filter",
    "empty",
    "stream_error",  # an error event in the middle of a stream; a 500 without a stream
    "html",  # a proxy's 502 page
    "context",
    "unauthorized",
    "not_found",
]

# These end a call before any limit is looked at, as a gateway in front would.
EARLY = frozenset(
    {
        "429",
        "429_no_retry_after",
        "quota",
        "503",
        "529",
        "reset",
        "rst",
        "html",
        "context",
        "unauthorized",
        "not_found",
    }
)
# These change what the model says; the call is answered and charged as any other.
CONTENT = frozenset(
    {"malformed_content", "wrong_schema", "truncated", "refusal", "content_filter", "empty"}
)
_WRONG_FIELDS = {"unexpected": "fields", "nothing": ["that", "was", "asked", "for"]}
HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)


class Fault(msgspec.Struct, frozen=True):
    """One rule.

    `rate` strikes that share of calls by a seeded draw; with `per="prompt"` the draw is the
    prompt's own, so that the same prompt always meets the same fate, and `times` counts each
    prompt by itself ("fails twice, then works"). `nth` are numbers of received calls, from 1.
    """

    kind: Kind
    rate: float | None = None
    nth: frozenset[int] | None = None
    match: str | None = None  # found in the users' text
    model: str | None = None  # found in the model's name
    times: int | None = None
    per: Literal["request", "prompt"] = "request"
    delay: float = 5.0  # of "slow"
    retry_after: float = 1.0  # the hint with "429"


class Faults:
    """The rules of a server, with the memory they need."""

    def __init__(self, rules: Iterable[Fault | dict[str, Any]], seed: int = 0) -> None:
        self.rules = [
            rule if isinstance(rule, Fault) else msgspec.convert(rule, Fault) for rule in rules
        ]
        self.seed = seed
        self.random = [random.Random(f"{seed}:{i}") for i in range(len(self.rules))]
        self.struck = [Counter[str]() for _ in self.rules]

    def pick(self, number: int, prompt: str, conversation: str, model: str) -> Fault | None:
        """The fault that call `number` meets, if any."""
        found: Fault | None = None
        for i, rule in enumerate(self.rules):
            strikes = True
            if rule.rate is not None:
                if rule.per == "prompt":
                    strikes = fate(prompt, f"{self.seed}:{i}") < rule.rate
                else:
                    # Drawn for every call, whatever rules stand before, so that the n-th
                    # call's luck does not depend on them.
                    strikes = self.random[i].random() < rule.rate
            if found is not None or not strikes:
                continue
            if rule.nth is not None and number not in rule.nth:
                continue
            if rule.match is not None and rule.match not in conversation:
                continue
            if rule.model is not None and rule.model not in model:
                continue
            if rule.times is not None:
                key = prompt if rule.per == "prompt" else ""
                if self.struck[i][key] >= rule.times:
                    continue
                self.struck[i][key] += 1
            found = rule
        return found


def fate(prompt: str, salt: str) -> float:
    """A number in [0, 1) that a prompt always draws."""
    return (
        int.from_bytes(blake2b(f"{salt}:{prompt}".encode(), digest_size=8).digest(), "big") / 2**64
    )


def parse_fault(text: str) -> Fault:
    """`500:rate=0.1,per=prompt` or `hang:nth=3+7`, as the command line writes a rule."""
    kind, _, rest = text.partition(":")
    rule: dict[str, Any] = {"kind": kind}
    for pair in filter(None, rest.split(",")):
        name, _, value = pair.partition("=")
        rule[name] = [int(n) for n in value.split("+")] if name == "nth" else value
    return msgspec.convert(rule, Fault, strict=False)


def spoil(answer: Answer, kind: str) -> None:
    """Make of a good answer the one that a content fault asks for."""
    if kind == "malformed_content":
        answer.text = '{"broken": "' + answer.text.strip('{}"')[:40].replace('"', "")
        answer.tool_calls = []
    elif kind == "wrong_schema":
        answer.text = msgspec.json.encode(_WRONG_FIELDS).decode()
        answer.tool_calls = [(name, _WRONG_FIELDS) for name, _ in answer.tool_calls]
    elif kind == "truncated":
        answer.text = answer.text[: len(answer.text) // 2]
        answer.finish = "length"
    else:
        answer.text, answer.tool_calls = "", []
        if kind == "refusal":
            answer.refusal, answer.finish = REFUSAL, "refusal"
        elif kind == "content_filter":
            answer.finish = "content_filter"
