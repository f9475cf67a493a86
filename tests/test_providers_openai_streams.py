"""Streams in OpenAI's format, as OpenAI and as compatible servers send them."""

from __future__ import annotations

import pytest

from swath.errors import Kind, ProviderError
from swath.messages import ToolCall, Usage

from .providers_kit import ask, reply, sse, streamed
from .test_providers_openai import NANO, SERVER, WHOLE


def delta(text=None, finish=None, **more):
    return {
        "id": "c1",
        "model": "gpt",
        "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}],
    }


def test_a_stream():
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    body = b": hello\n\n" + sse([delta("4"), delta("2"), delta(None, "stop"), usage, "[DONE]"])
    chunks, answer = streamed(ask(), NANO, body)
    assert [c.text for c in chunks] == ["4", "2"]
    assert (answer.text, answer.model_id, answer.request_id) == ("42", "gpt", "c1")
    assert answer.usage == Usage(3, 2)


def test_a_stream_of_tool_calls():
    parts = [
        {"index": 0, "id": "a", "function": {"name": "lookup", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"wo'}},
        {"index": 0, "function": {"arguments": 'rd":1}'}},
        {"index": 1, "id": "b", "function": {"name": "lookup", "arguments": "{}"}},
    ]
    events = [delta(tool_calls=[p]) for p in parts]
    chunks, answer = streamed(ask(), NANO, sse([*events, delta(finish="tool_calls"), "[DONE]"]))
    wanted = (ToolCall("a", "lookup", '{"word":1}'), ToolCall("b", "lookup", "{}"))
    assert answer.tool_calls == wanted
    assert tuple(c.tool_call for c in chunks) == wanted


@pytest.mark.parametrize("end", ["", "data: [DONE]", "data: [DONE]\n\n"])
def test_servers_that_end_a_stream_their_own_way(end):
    body = sse([delta("x"), delta(None, "stop")], end=end)
    assert streamed(ask(), SERVER, body)[1].text == "x"


def test_a_cut_stream_is_no_answer():
    for body in (b"", sse([delta("x")]), sse([delta("x")]) + b'data: {"cho'):
        with pytest.raises(ProviderError) as caught:
            streamed(ask(), NANO, body)
        assert caught.value.kind is Kind.CONNECTION
        assert caught.value.charged


def test_errors_in_a_stream():
    cases = [
        ({"error": {"message": "x", "type": "server_error"}}, Kind.SERVER),
        ({"object": "error", "message": "x", "code": 400}, Kind.BAD_REQUEST),
        ("{broken", Kind.MALFORMED),
    ]
    for event, kind in cases:
        with pytest.raises(ProviderError) as caught:
            streamed(ask(), NANO, sse([delta("x"), event]))
        assert caught.value.kind is kind
        assert caught.value.charged


def test_a_server_that_does_not_stream():
    chunks, answer = streamed(ask(), SERVER, b"\n" + reply(WHOLE).body, cuts=[5, 50])
    assert (chunks, answer.text) == ([], "4")
