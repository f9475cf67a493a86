"""What is kept of prompts: no key, e-mail address, card, account or phone number."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swath.redact import redact


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Write to ada.l+x@mail.example.org, please.", "Write to [email], please."),
        ("my key is sk-proj-abcDEF1234567890abcDEF", "my key is [key]"),
        ("Authorization: Bearer abcdefgh12345678.xyz==", "Authorization: Bearer [key]"),
        ("AKIAABCDEFGHIJKLMNOP!", "[key]!"),
        ("card 4111 1111 1111 1111 was lost", "card [card] was lost"),
        ("card 4111-1111-1111-1111.", "card [card]."),
        ("pay DE89 3704 0044 0532 0130 00 now", "pay [iban] now"),
        ("call +49 (30) 1234 5678", "call [phone]"),
        ("call 0044 20 7946 0958", "call [phone]"),
        # What only looks alike stays: an order, a sum, a year, a formula.
        ("order 4111 1111 1111 1112", "order 4111 1111 1111 1112"),
        ("3.1415926535897932 and 2024-11-24", "3.1415926535897932 and 2024-11-24"),
        ("x = 12345678 + 9 @ home", "x = 12345678 + 9 @ home"),
        ("GB12 ABCD is no account", "GB12 ABCD is no account"),
    ],
)
def test_what_looks_private_is_named_and_not_kept(text: str, kept: str) -> None:
    assert redact(text) == kept
    assert redact(kept) == kept


@given(st.text(max_size=400))
def test_any_text_is_taken_and_nothing_is_found_twice(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), max_size=60))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    text = " ".join(words)
    assert redact(text) == text


@given(st.text(alphabet="0123456789 -@.a", max_size=3000))
def test_long_runs_take_no_longer_than_their_length(text: str) -> None:
    made = redact(text)
    assert len(re.findall(r"\[\w+\]", made)) <= len(text)
