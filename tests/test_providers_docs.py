"""The example of docs/providers.md works as it stands there, and the tables name what exists."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import EmbedRequest, Usage
from swath.providers import NAMES, provider
from swath.providers.base import HttpReply

from .providers_kit import PERSON, ask

PAGE = (Path(__file__).parent.parent / "docs" / "providers.md").read_text("utf-8")


def example() -> ModuleType:
    code = next(c for c in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "class Ollama" in c)
    module = ModuleType("ollama_example")
    sys.modules[module.__name__] = module  # msgspec looks its annotations up there
    exec(compile(code, "docs/providers.md", "exec"), module.__dict__)
    return module


OLLAMA = example().Ollama()
LLAMA = Model(
    alias="m", provider="ollama", id="llama3", base_url=OLLAMA.base_url, options={"num_ctx": 4096}
)
LINES = (
    b'{"model":"llama3","message":{"role":"assistant","content":"Sw\xc3\xa4"},"done":false}\n'
    b'{"model":"llama3","message":{"content":"th"},"done":false}\n'
    b'{"model":"llama3","message":{"content":""},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":9,"eval_count":2}\n'
)


def test_it_encodes():
    import json

    http = OLLAMA.encode(ask(temperature=0.0, max_tokens=5, schema=PERSON), LLAMA)
    body = json.loads(http.body)
    assert http.url == "http://localhost:11434/api/chat"
    assert body["options"] == {"temperature": 0.0, "num_predict": 5, "num_ctx": 4096}
    assert body["format"]["properties"]["said"] == {"type": "string"}
    assert body["messages"][0] == {"role": "system", "content": "You are terse."}
    assert json.loads(OLLAMA.encode(OLLAMA.json_mode(ask()), LLAMA).body)["format"] == "json"


def test_it_decodes():
    whole = HttpReply(200, {}, b'{"message":{"content":"hi"},"done":true,"eval_count":2}')
    answer = OLLAMA.decode(ask(), LLAMA, whole)
    assert (answer.text, answer.usage) == ("hi", Usage(0, 2))
    vectors = HttpReply(200, {}, b'{"embeddings":[[1.0],[2.0]]}')
    found = OLLAMA.decode(EmbedRequest(model="m", texts=("a", "b")), LLAMA, vectors)
    assert found.vectors == ((1.0,), (2.0,))
    assert OLLAMA.models(HttpReply(200, {}, b'{"models":[{"name":"x"}]}'))[0].id == "x"


@given(st.lists(st.integers(0, len(LINES)), max_size=9))
def test_it_streams_in_any_pieces(cuts):
    decoder, places = OLLAMA.decoder(ask(), LLAMA), [0, *sorted(cuts), len(LINES)]
    chunks = [c for a, b in pairwise(places) for c in decoder.feed(LINES[a:b])]
    assert [c.text for c in chunks] == ["Swä", "th"]
    assert decoder.finish().text == "Swäth"
    assert decoder.finish().usage == Usage(9, 2)


def test_it_tells_errors():
    for status, body, kind in (
        (404, b'{"error":"model \'x\' not found"}', Kind.NOT_FOUND),
        (400, b'{"error":"x does not support tools"}', Kind.UNSUPPORTED),
        (500, b'{"error":"llama runner stopped"}', Kind.SERVER),
    ):
        assert OLLAMA.error(LLAMA, HttpReply(status, {}, body)).kind is kind
    decoder = OLLAMA.decoder(ask(), LLAMA)
    decoder.feed(LINES[:90])
    with pytest.raises(ProviderError) as caught:
        decoder.finish()
    assert caught.value.kind is Kind.CONNECTION


def test_the_table_names_every_provider_key_and_option():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE.split("## What each takes")[0], re.M))
    assert rows.keys() == set(NAMES)
    for name in NAMES:
        if name == "local":
            continue
        wire = provider(name)
        assert f"`{wire.key_env}`" in rows[name]
        own = wire.options - (provider("google").options if name == "vertex" else set())
        assert {o for o in own if f"`{o}`" not in rows[name]} == set()
