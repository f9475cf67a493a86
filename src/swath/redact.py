"""Texts without what should not be kept: keys, e-mail addresses, cards, accounts, phone numbers.

What is found is replaced by its sort in brackets (`[email]`), so that the text still reads. It is a
net for what follows a pattern, no promise: names and addresses stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from swath.messages import Message, Request

_KEY = re.compile(
    r"\b(?:sk|pk|rk|gsk|ghp|gho|ghs|github_pat|glpat|xox[abprs]|hf|npm|pypi)[-_][\w-]{16,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"
    r"|(?<=Bearer )[\w.~+/-]{16,}=*|\b[0-9a-fA-F]{40,}\b"
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00)\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,11}\b")


def redact(text: str) -> str:
    """`text` with `[key]`, `[email]`, `[iban]`, `[card]` and `[phone]` where a text has those."""
    text = _KEY.sub("[key]", text)
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub(_checked(_iban, "[iban]"), text)
    text = _CARD.sub(_checked(_luhn, "[card]"), text)
    return _PHONE.sub("[phone]", text)


def redacted(request: Request) -> tuple[Message, ...]:
    """The texts of a request's messages, redacted; nothing else of them."""
    return tuple(Message(m.role, redact(m.content)) for m in request.messages)


def _checked(right: Callable[[str], bool], sort: str) -> Callable[[re.Match[str]], str]:
    return lambda found: sort if right(found[0]) else found[0]


def _luhn(digits: str) -> bool:
    """Whether the check digit of a card is right: other long numbers are kept."""
    total = 0
    for place, digit in enumerate(int(c) for c in reversed(digits) if c.isdigit()):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _iban(text: str) -> bool:
    """Whether the check digits of an account are right (ISO 13616)."""
    plain = text.replace(" ", "")
    turned = plain[4:] + plain[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1
