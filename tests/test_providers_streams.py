"""A stream may be cut into pieces anywhere: the completion is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swath.providers import provider
from swath.providers.base import EventStream

from .providers_kit import PERSON, ask, model, sse, streamed
from .test_providers_anthropic_replies import HAIKU, events
from .test_providers_google import FLASH, answered
from .test_providers_openai import NANO, WHOLE
from .test_providers_openai_streams import delta

cuts = st.lists(st.integers(0, 5000), max_size=40)
TEXT = "Zwölf Boxkämpfer jagen 🦊 über den Deich.\n\ndata: [DONE]\r\n"


def openai_body() -> bytes:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":"ü"}'}}
    pieces = [delta(TEXT[i : i + 7]) for i in range(0, len(TEXT), 7)]
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    return sse([*pieces, delta(tool_calls=[call]), delta(None, "tool_calls"), usage, "[DONE]"])


def google_body() -> bytes:
    parts = [{"content": {"parts": [{"text": c}]}} for c in TEXT]
    return sse([*({"candidates": [p]} for p in parts), answered({"parts": [{"text": "!"}]})])


BODIES = [
    (NANO, openai_body()),
    (NANO, openai_body().replace(b"\n", b"\r\n")),
    (model("groq", "x"), openai_body()),
    (model("openrouter", "x/y"), b": OPENROUTER PROCESSING\n\n" + openai_body()),
    (HAIKU, sse(events(TEXT, ("f", ["{", '"x":"ü"}']), TEXT, stop="tool_use"), named=True)),
    (FLASH, google_body()),
]


@pytest.mark.parametrize(("one", "body"), BODIES)
@given(cuts=cuts)
def test_any_cutting_gives_the_same_completion(one, body, cuts):
    whole_chunks, whole = streamed(ask(), one, body)
    chunks, answer = streamed(ask(), one, body, cuts)
    assert answer == whole
    assert chunks == whole_chunks
    assert "".join(c.text for c in chunks) == answer.text
    assert TEXT in answer.text
    assert tuple(c.tool_call for c in chunks if c.tool_call) == answer.tool_calls


@pytest.mark.parametrize(("one", "body"), BODIES)
def test_byte_by_byte(one, body):
    assert streamed(ask(), one, body, range(len(body)))[1] == streamed(ask(), one, body)[1]


@given(cuts=cuts)
def test_a_stream_and_a_whole_reply_say_the_same(cuts):
    from .providers_kit import decoded

    request = ask(schema=PERSON)
    text = '{"name":"Ada","age":null,"said":"x"}'
    whole = {**WHOLE, "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    pieces = [delta(text[i : i + 5]) for i in range(0, len(text), 5)]
    body = sse([*pieces, delta(None, "stop"), {"choices": [], "usage": WHOLE["usage"]}, "[DONE]"])
    answer = streamed(request, NANO, body, cuts)[1]
    assert answer.text == decoded(request, NANO, whole).text == '{"name":"Ada","said":"x"}'
    assert answer.usage == decoded(request, NANO, whole).usage


def test_events_span_lines_and_comments_are_dropped():
    stream = EventStream()
    body = b": hi\r\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\n\r\nid: 3\ndata: x\n\n"
    assert stream.feed(body) == [("a", b"1\n2"), ("", b"x")]


@pytest.mark.parametrize("name", ["openai", "groq", "openrouter", "anthropic", "google"])
def test_every_provider_refuses_an_empty_stream(name):
    from swath.errors import Kind, ProviderError

    one = model(name, "m")
    for pieces in ([], [b""], [b"\n\n"], [b": ping\n\n"]):
        decoder = provider(name).decoder(ask(), one)
        for piece in pieces:
            assert list(decoder.feed(piece)) == []
        with pytest.raises(ProviderError) as caught:
            decoder.finish()
        assert caught.value.kind is Kind.CONNECTION
