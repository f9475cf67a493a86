"""Gemini on Vertex AI: addresses, tokens, embeddings."""

from __future__ import annotations

import sys
import time
from threading import Event
from types import ModuleType

import pytest

from swath.catalog.model import Secret
from swath.errors import ConfigError, KeyMissing, MissingExtra, ProviderError
from swath.messages import EmbedRequest
from swath.providers import provider
from swath.providers.vertex import RenewedToken

from .providers_kit import KEY, PERSON, ask, model, reply, sent
from .test_providers_google import FLASH, GOOGLE

VERTEX = provider("vertex")
CLOUD = model("vertex", "gemini-2.5-flash", options={"project": "p1"})


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (None, "aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_vertex_addresses(location, host):
    options = {"project": "p1"} | ({"location": location} if location else {})
    http = VERTEX.encode(ask(), model("vertex", "gemini-2.5-flash", options=options))
    place = f"projects/p1/locations/{location or 'global'}"
    assert http.url == (
        f"https://{host}/v1/{place}/publishers/google/models/gemini-2.5-flash:generateContent"
    )
    assert http.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in http.headers


def test_vertex_needs_a_project(monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    bare = model("vertex", "gemini-2.5-flash")
    with pytest.raises(ConfigError, match="project"):
        VERTEX.encode(ask(), bare)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p2")
    assert "/projects/p2/" in VERTEX.encode(ask(), bare).url


def test_vertex_shares_the_payload_and_its_own_url_wins():
    assert sent(ask(schema=PERSON), CLOUD) == sent(ask(schema=PERSON), FLASH)
    mine = model("vertex", "g", base_url="http://localhost:1/v1", options=dict(CLOUD.options))
    assert VERTEX.encode(ask(), mine).url.startswith("http://localhost:1/v1/projects/p1/")
    assert VERTEX.probe(CLOUD).url.endswith(":countTokens")
    rows = {"publisherModels": [{"name": "publishers/google/models/gemini-x"}]}
    assert [m.id for m in VERTEX.models(reply(rows))] == ["gemini-x"]


def test_vertex_embeddings():
    request = EmbedRequest(model="m", texts=("a", "b"), dimensions=2)
    old = model("vertex", "text-embedding-005", options={"project": "p1"})
    assert VERTEX.encode(request, old).url.endswith("/text-embedding-005:predict")
    assert sent(request, old) == {
        "instances": [{"content": "a"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 2},
    }
    one = {"embeddings": {"values": [1, 2], "statistics": {"token_count": 3}}}
    found = VERTEX.decode(request, old, reply({"predictions": [one, one]}))
    assert (found.vectors, found.usage.input_tokens) == (((1.0, 2.0), (1.0, 2.0)), 6)
    with pytest.raises(ProviderError):
        VERTEX.decode(request, old, reply({"predictions": [one]}))
    single = EmbedRequest(model="m", texts=("a",), dimensions=2)
    new = model("vertex", "gemini-embedding-2", options={"project": "p1"})
    assert VERTEX.max_texts(new) == 1
    assert VERTEX.encode(single, new).url.endswith(":embedContent")
    assert sent(single, new) == {
        "content": {"parts": [{"text": "a"}]},
        "embedContentConfig": {"outputDimensionality": 2},
    }
    body = {"embedding": {"values": [1.0]}, "usageMetadata": {"promptTokenCount": 3}}
    found = VERTEX.decode(single, new, reply(body))
    assert (found.vectors, found.usage.input_tokens) == (((1.0,),), 3)


def test_a_stated_token_is_used_as_it_is():
    assert VERTEX.authorize(CLOUD) is CLOUD
    assert GOOGLE.authorize(FLASH) is FLASH


def test_without_google_auth_the_extra_is_named(monkeypatch):
    for name in ("google.auth", "google.auth.exceptions", "google.auth.transport.requests"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="vertex"):
        VERTEX.authorize(model("vertex", "g", key=Secret("")))


def fake_google_auth(monkeypatch, default):
    auth = ModuleType("google.auth")
    auth.default = default
    auth.exceptions = ModuleType("google.auth.exceptions")
    auth.exceptions.GoogleAuthError = type("GoogleAuthError", (Exception,), {})
    auth.transport = ModuleType("google.auth.transport")
    auth.transport.requests = ModuleType("google.auth.transport.requests")
    auth.transport.requests.Request = object
    parent = sys.modules.get("google") or ModuleType("google")
    monkeypatch.setitem(sys.modules, "google", parent)
    monkeypatch.setattr(parent, "auth", auth, raising=False)
    for part in (auth, auth.exceptions, auth.transport, auth.transport.requests):
        monkeypatch.setitem(sys.modules, part.__name__, part)
    return auth


def test_default_credentials_give_key_and_project(monkeypatch):
    class Credentials:
        expiry = None
        token = ""

        def refresh(self, request):
            self.token += "t"

    fake_google_auth(monkeypatch, lambda scopes: (Credentials(), "from-adc"))
    found = VERTEX.authorize(model("vertex", "g", key=Secret("")))
    assert found.options["project"] == "from-adc"
    assert VERTEX.headers(found)["authorization"] == "Bearer t"
    assert "t" not in repr(found.key).replace("Secret", "")


def test_no_default_credentials_is_said(monkeypatch):
    def default(scopes):
        raise auth.exceptions.GoogleAuthError("none")

    auth = fake_google_auth(monkeypatch, default)
    with pytest.raises(KeyMissing, match="VERTEX_ACCESS_TOKEN"):
        VERTEX.authorize(model("vertex", "g", key=Secret("")))


def test_a_token_renews_itself_without_making_a_call_wait():
    tokens, may = iter([("old", time.time() + 10), ("new", time.time() + 3600)]), Event()
    may.set()

    def renew():
        may.wait(5)
        return next(tokens)

    token = RenewedToken(renew)
    may.clear()
    assert token.reveal() == "old"
    assert token.reveal() == "old"
    may.set()
    deadline = time.time() + 5
    while token.reveal() == "old" and time.time() < deadline:
        time.sleep(0.01)
    assert token.reveal() == "new"


def test_a_token_that_cannot_be_renewed_is_kept():
    made = iter([("old", time.time() + 10)])
    token = RenewedToken(lambda: next(made))
    for _ in range(3):
        assert token.reveal() == "old"
        time.sleep(0.01)
