"""The local model: the plumbing with the smallest model there is, the answers with the default."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from swath.catalog.model import Model
from swath.errors import ConfigError, Kind, MissingExtra, ProviderError, WeightsError
from swath.local import weights
from swath.local.backend import LOCAL_FEATURES, LocalBackend, context_window
from swath.messages import Chunk, Completion, Embeddings, EmbedRequest, Message, Request, Tool
from swath.messages import Schema as Shape

pytestmark = pytest.mark.local
if find_spec("xllamacpp") is None:
    pytest.skip("the extra 'local' is not installed", allow_module_level=True)

SMALL = "smollm2-135m"


def pulled(name: str) -> str:
    try:
        weights.pull(name)
    except WeightsError as e:
        pytest.skip(f"{name} is not to be had here: {e}")
    return name


def model(name: str, **options: Any) -> Model:
    chosen = {"slots": 2, "context": 1024, **options}
    return Model(alias="local", provider="local", id=name, base_url="", options=chosen)


@pytest.fixture(scope="module")
def small() -> Model:
    return model(pulled(SMALL))


@pytest.fixture(scope="module")
def default() -> Model:
    return model(pulled(weights.DEFAULT_CHAT), context=2048)


def request(text: str, **more: Any) -> Request:
    return Request(model="local", messages=(Message("user", text),), **more)


async def ask(asked: Request, of: Model) -> Completion:
    reply, limits = await LocalBackend().send(asked, of, None)
    assert isinstance(reply, Completion)
    assert limits is None
    return reply


# --- plumbing


async def test_an_answer_and_what_it_took(small: Model) -> None:
    first = await ask(request("Name three colours of the sky.", max_tokens=12), small)
    assert first.text
    assert first.finish == "length"
    assert first.model_id == SMALL
    assert first.usage.output_tokens == 12
    again = await ask(request("Name three colours of the sky.", max_tokens=12), small)
    assert again.text == first.text
    assert again.usage.input_tokens == first.usage.input_tokens
    assert 0 < again.usage.cached_input_tokens < again.usage.input_tokens
    stopped = await ask(request("Count: one, two,", max_tokens=40, stop=(" ",)), small)
    assert stopped.finish == "stop"
    assert " " not in stopped.text


async def test_a_seed_repeats_a_draw(small: Model) -> None:
    knobs: dict[str, Any] = {"max_tokens": 16, "temperature": 1.5, "top_p": 0.95}
    draws = [
        (await ask(request("Tell a tale.", seed=seed, **knobs), small)).text for seed in (7, 7, 8)
    ]
    assert draws[0] == draws[1] != draws[2]


async def test_chunks_arrive_in_order_and_before_the_answer(small: Model) -> None:
    chunks: list[Chunk] = []
    home = threading.get_ident()
    threads = set()

    def hear(chunk: Chunk) -> None:
        threads.add(threading.get_ident())
        chunks.append(chunk)

    reply, _ = await LocalBackend().send(request("Tell a tale.", max_tokens=16), small, hear)
    assert isinstance(reply, Completion)
    assert "".join(c.text for c in chunks) == reply.text
    assert len(chunks) > 8
    assert threads == {home}


async def test_log_probabilities(small: Model) -> None:
    reply = await ask(request("Say yes.", max_tokens=4, logprobs=3), small)
    assert len(reply.logprobs) == reply.usage.output_tokens
    for token in reply.logprobs:
        assert token.logprob <= 0
        assert len(token.top) == 3
    bare = await ask(request("Say yes.", max_tokens=4, logprobs=0), small)
    assert all(not token.top for token in bare.logprobs)


SCHEMAS: dict[str, dict[str, Any]] = {
    "fields": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0},
            "height": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "mood": {"anyOf": [{"enum": ["good", "bad"]}, {"type": "null"}]},
        },
        "required": ["name", "age", "height", "tags", "mood"],
    },
    "references": {
        "$defs": {
            "N": {
                "type": "object",
                "properties": {
                    "v": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]},
                },
                "required": ["v", "next"],
            }
        },
        "type": "array",
        "items": {"$ref": "#/$defs/N"},
        "minItems": 2,
    },
    "mapping": {"type": "object", "additionalProperties": {"type": "number"}},
    "anything": {},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"},
    "beyond": {"type": "string", "pattern": "^(?=.*a)[a-z]+$", "minLength": 2},
    "sentence": {
        "type": "object",
        "properties": {"s": {"type": "string", "description": "one short sentence"}},
        "required": ["s"],
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("temperature", [0.0, 1.2])
async def test_every_reply_parses(small: Model, name: str, temperature: float) -> None:
    schema = SCHEMAS[name]
    asked = request(
        f"Invent {name}. Answer with JSON.",
        schema=Shape(name, schema),
        max_tokens=120,
        temperature=temperature,
        seed=5,
    )
    value = json.loads((await ask(asked, small)).text)
    if name != "beyond":  # look-ahead is beyond any grammar: the engine's check has it
        assert jsonschema_rs.is_valid(schema, value)


async def test_a_reply_is_whole_within_few_tokens(small: Model) -> None:
    fields = {name: {"type": "string"} for name in ("one", "two", "three")}
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": list(fields)}
    asked = request("Write 中文 poems.", schema=Shape("poems", schema), max_tokens=60)
    reply = await ask(asked, small)
    assert jsonschema_rs.is_valid(schema, json.loads(reply.text))
    assert reply.finish == "stop"


SPEECH = (
    "Mr President, the milk quota must not be dismantled. In Portugal whole regions live from "
    "milk, and they would be impoverished. The Commissioner says it is too early; I say: “it is "
    "always too early for those who do not farm”. We ask for her support."
)
QUOTES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "claim": {"type": "string", "description": "the main point in one short sentence"},
        "stance": {"enum": ["supportive", "critical", "neutral"]},
        "quote": {"type": "string", "format": "quote"},
    },
    "required": ["claim", "stance", "quote"],
}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_quotes_stand_in_the_source(small: Model, temperature: float) -> None:
    asked = request(
        f"{SPEECH}\n\nGive claim, stance and quote.",
        schema=Shape("argument", QUOTES),
        source=SPEECH,
        max_tokens=200,
        temperature=temperature,
        seed=1,
    )
    for on_chunk in (None, lambda chunk: None):
        reply, _ = await LocalBackend().send(asked, small, on_chunk)
        assert isinstance(reply, Completion)
        assert json.loads(reply.text)["quote"] in SPEECH


async def test_labels_with_a_common_beginning(small: Model) -> None:
    labels = ("card", "card payment", "card payment fee", "cash", "カード", 'the "other"')
    asked = request("I lost my card. What is it about?", choices=labels)
    reply = await ask(asked, small)
    assert reply.text in labels
    assert set(reply.scores) == set(labels)
    assert math.isclose(sum(reply.scores.values()), 1.0, rel_tol=1e-6)
    assert reply.text == max(reply.scores, key=lambda label: reply.scores[label])
    assert reply.usage.input_tokens > 0


async def test_what_cannot_be_had_is_said(small: Model, tmp_path: Path) -> None:
    async def kind(asked: Any, of: Model) -> Kind:
        with pytest.raises(ProviderError) as caught:
            await LocalBackend().send(asked, of, None)
        return caught.value.kind

    tool = Tool("weather", "", {"type": "object", "properties": {}})
    assert await kind(request("word " * 2000), small) is Kind.CONTEXT
    assert await kind(request("Weather?", tools=(tool,)), small) is Kind.UNSUPPORTED
    assert await kind(request("x", extra={"grammar": "root ::= foo"}), small) is Kind.BAD_REQUEST
    embed = EmbedRequest(model="local", texts=("a",))
    assert await kind(embed, small) is Kind.UNSUPPORTED
    assert await kind(request("x"), model(weights.DEFAULT_EMBED)) is Kind.UNSUPPORTED

    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really")
    with pytest.raises(WeightsError, match="cannot load"):
        await ask(request("x"), model(str(broken)))
    with pytest.raises(ConfigError, match="slots"):
        await ask(request("x"), model(SMALL, slots="many"))


async def test_any_path_is_a_model(small: Model) -> None:
    path = str(weights.find(SMALL))
    reply = await ask(request("Hello", max_tokens=3), model(path))
    assert reply.text
    assert reply.model_id == path


async def test_a_cancelled_call_frees_its_slot(small: Model) -> None:
    backend = LocalBackend()
    long = [backend.send(request(f"{i} Tell a tale.", max_tokens=900), small, None) for i in "abcd"]
    tasks = [asyncio.create_task(one) for one in long]
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(r, asyncio.CancelledError)
        for r in await asyncio.gather(*tasks, return_exceptions=True)
    )
    started = time.monotonic()
    assert (await ask(request("Hello", max_tokens=2), small)).text
    assert time.monotonic() - started < 10


async def test_the_loop_stays_free_while_the_model_computes(small: Model) -> None:
    task = asyncio.create_task(ask(request("Tell a tale.", max_tokens=60), small))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 5
    assert (await task).text


async def test_many_at_once_are_all_answered(small: Model) -> None:
    replies = await asyncio.gather(
        *(ask(request(f"Number {i}", max_tokens=4), small) for i in range(12))
    )
    assert all(r.usage.output_tokens <= 4 for r in replies)


SCRIPT = """
    import asyncio, os, signal, sys, threading, time
    from swath.catalog.model import Model
    from swath.local.backend import LocalBackend
    from swath.messages import Message, Request

    model = Model(alias="local", provider="local", id="smollm2-135m", base_url="",
                  options={"slots": 2, "context": 2048})

    def ask(tokens):
        request = Request(model="local", messages=(Message("user", "Tell a tale."),),
                          max_tokens=tokens)
        return LocalBackend().send(request, model, None)

    ending = sys.argv[1]
    print(len(asyncio.run(ask(2))[0].text) > 0, flush=True)
    if ending == "interrupt":
        threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            asyncio.run(ask(2000))
        except KeyboardInterrupt:
            sys.exit(130)
    if ending == "busy":
        threading.Thread(target=lambda: asyncio.run(ask(2000)), daemon=True).start()
        time.sleep(1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("ending", "status"), [("calm", 0), ("busy", 0), ("interrupt", 130)])
def test_the_process_ends_cleanly(small: Model, ending: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), ending],
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if k != "SWATH_DEBUG"},
    )
    assert done.returncode == status, done.stderr
    assert done.stdout == "True\n"  # llama.cpp itself is silent
    if ending == "calm":
        assert done.stderr == ""


# --- embeddings


async def test_embeddings() -> None:
    of = model(pulled(weights.DEFAULT_EMBED))
    texts = ("a cat sat", "tax law of the Union", "a kitten sat", "", "word " * 2000)
    reply, _ = await LocalBackend().send(EmbedRequest(model="e", texts=texts), of, None)
    assert isinstance(reply, Embeddings)
    assert len(reply.vectors) == 5
    assert reply.usage.input_tokens > 256
    for vector in reply.vectors:
        assert len(vector) == 384
        assert math.isclose(sum(x * x for x in vector), 1.0, rel_tol=1e-4)

    def alike(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(reply.vectors[i], reply.vectors[j], strict=True))

    assert alike(0, 2) > alike(0, 1) + 0.3
    with pytest.raises(ProviderError, match="384"):
        await LocalBackend().send(EmbedRequest(model="e", texts=("a",), dimensions=8), of, None)
    none, _ = await LocalBackend().send(EmbedRequest(model="e", texts=()), of, None)
    assert isinstance(none, Embeddings)
    assert none.vectors == ()


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from swath.local.encoder import Encoder

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'swath\[local\]'"):
        Encoder(Path("model.onnx"), window=256)


def test_what_the_engine_may_ask_without_loading_a_model() -> None:
    assert {"json_schema", "choices", "grounding", "logprobs", "embed"} <= LOCAL_FEATURES
    assert context_window(model(SMALL, context=512)) == 512
    assert context_window(model(weights.DEFAULT_EMBED, context=0)) == 256


# --- the default model: answers that make sense

TICKETS = (
    ("I still have not received my new card. When will it come?", "card arrival"),
    ("My card was stolen on the train, please block it.", "lost or stolen card"),
    ("How do I set another PIN?", "change pin"),
    ("What rate do you use for dollars into euros?", "exchange rate"),
    ("My top-up did not go through.", "top up failed"),
    ("I can't find my card anywhere, I think I lost it.", "lost or stolen card"),
    ("The money I tried to add to my account was declined.", "top up failed"),
    ("I'd like to choose a new code for the cash machine.", "change pin"),
    ("It's been ten days and the card you sent isn't here.", "card arrival"),
    ("Is the currency conversion done at the interbank rate?", "exchange rate"),
)


async def test_the_default_model_classifies(default: Model) -> None:
    pulled(weights.DEFAULT_EMBED)
    labels = tuple(sorted({label for _, label in TICKETS}))
    told = "Choose the one label that fits the text best.\n\nLabels:\n" + "\n".join(
        f"- {label}" for label in labels
    )

    def about(text: str) -> Request:
        messages = (Message("system", told), Message("user", text))
        return Request(model="local", messages=messages, choices=labels, source=text)

    replies = await asyncio.gather(*(ask(about(text), default) for text, _ in TICKETS))
    right = sum(r.text == label for r, (_, label) in zip(replies, TICKETS, strict=True))
    assert right >= 8


async def test_the_default_model_extracts(default: Model) -> None:
    told = (
        "Read the text and fill in each field from it alone.\n\nFields:\n"
        "- claim (text): the speaker's main point, in one short sentence\n"
        "- stance (one of: supportive, critical, neutral): the attitude of the speaker\n"
        "- quote (a sentence of the text, copied word for word): the sentence that says it best"
    )
    asked = Request(
        model="local",
        messages=(Message("system", told), Message("user", SPEECH)),
        schema=Shape("argument", QUOTES),
        source=SPEECH,
    )
    reply = await ask(asked, default)
    value = json.loads(reply.text)
    assert "quota" in value["claim"] or "milk" in value["claim"].lower()
    assert value["quote"] in SPEECH
    assert value["stance"] == "critical"
    assert reply.usage.output_tokens < 100


async def test_the_default_model_calls_tools(default: Model) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = request(
        "What is the weather in Paris?",
        tools=(Tool("weather", "The weather in a city", city), Tool("time", "The time")),
        tool_choice="weather",
        max_tokens=60,
    )
    reply = await ask(asked, default)
    assert reply.finish == "tool_calls"
    (call,) = reply.tool_calls
    assert call.name == "weather"
    assert "Paris" in json.loads(call.arguments)["city"]
