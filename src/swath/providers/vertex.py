"""Gemini on Vertex AI: Google's payload under a project and a location, with a bearer token.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference

Rules that live here:
- `project` and `location` are options; without a project that of the credentials, or of
  GOOGLE_CLOUD_PROJECT, is used; the location is `global` unless stated.
- The key is an access token in VERTEX_ACCESS_TOKEN, or else Google's application default
  credentials (extra `vertex`), which `authorize` finds once, when the session opens. Their token
  lives an hour; `reveal` hands out the current one and has it renewed in the background shortly
  before its end, so that no call waits for it.
- Embeddings go by `:predict`, those of gemini-embedding-2 by `:embedContent`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from swath.catalog.model import Model, Secret
from swath.errors import ConfigError, KeyMissing, Kind, MissingExtra
from swath.messages import AnyReply, AnyRequest, Embeddings, EmbedRequest, Usage
from swath.providers.base import HttpReply, HttpRequest, ModelInfo
from swath.providers.google import Google, versioned
from swath.providers.wire import as_dict, failure, loads

_HOST = "https://aiplatform.googleapis.com/v1"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_RENEW_BEFORE = 300.0  # seconds before a token's end


class Vertex(Google):
    name: ClassVar[str] = "vertex"
    base_url: ClassVar[str] = _HOST
    key_env: ClassVar[str] = "VERTEX_ACCESS_TOKEN"
    options: ClassVar[frozenset[str]] = Google.options | {"project", "location"}

    def features(self, model: Model) -> frozenset[str]:
        return super().features(model) | {"logprobs"}

    def max_texts(self, model: Model) -> int:
        return 1 if "gemini-embedding" in model.id else 100

    def authorize(self, model: Model) -> Model:
        if model.key:
            return model
        key, project = default_credentials(model)
        options = dict(model.options)
        if project:
            options.setdefault("project", project)
        return msgspec.structs.replace(model, key=key, options=options)

    def place(self, model: Model) -> str:
        """`…/projects/P/locations/L`. Raises ConfigError where no project is known."""
        project = model.options.get("project") or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if not project:
            raise ConfigError(
                f"[models.{model.alias}] names no Google Cloud project.",
                hint='Set project = "…" there, or the variable GOOGLE_CLOUD_PROJECT.',
            )
        return f"{self.host(model)}/projects/{project}/locations/{self.location(model)}"

    def location(self, model: Model) -> str:
        return str(model.options.get("location") or "global")

    def host(self, model: Model) -> str:
        """A location has a host of its own, unless the config names another."""
        base, location = versioned(model.base_url, "v1"), self.location(model)
        if base != _HOST or location == "global":
            return base
        if location in ("us", "eu"):
            return base.replace("aiplatform", f"aiplatform.{location}.rep", 1)
        return base.replace("aiplatform", f"{location}-aiplatform", 1)

    def model_url(self, model: Model) -> str:
        id = model.id.removeprefix("models/")
        return f"{self.place(model)}/publishers/google/models/{id}"

    def headers(self, model: Model) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if model.key:
            headers["authorization"] = f"Bearer {model.key.reveal()}"
        return headers

    def embed(self, request: EmbedRequest, model: Model) -> HttpRequest:
        task, size = model.options.get("task_type"), request.dimensions
        if "gemini-embedding-2" in model.id:
            config = {"taskType": task, "outputDimensionality": size}
            body: dict[str, Any] = {"content": {"parts": [{"text": request.texts[0]}]}}
            if task or size:
                body["embedContentConfig"] = {k: v for k, v in config.items() if v}
            return self.post(model, "embedContent", body)
        more = {"task_type": task} if task else {}
        body = {"instances": [{"content": text, **more} for text in request.texts]}
        if size:
            body["parameters"] = {"outputDimensionality": size}
        return self.post(model, "predict", body)

    def decode(self, request: AnyRequest, model: Model, reply: HttpReply) -> AnyReply:
        if isinstance(request, EmbedRequest) and "gemini-embedding-2" not in model.id:
            return self._predicted(request, model, reply)
        return super().decode(request, model, reply)

    def _predicted(self, request: EmbedRequest, model: Model, reply: HttpReply) -> Embeddings:
        found = [as_dict(as_dict(p).get("embeddings")) for p in _rows(reply, "predictions")]
        vectors = [one.get("values") for one in found]
        if len(vectors) != len(request.texts) or not all(isinstance(v, list) for v in vectors):
            said = f"{len(vectors)} vectors came back for {len(request.texts)} texts"
            raise failure(Kind.MALFORMED, model, reply, said)
        tokens = sum(int(as_dict(one.get("statistics")).get("token_count") or 0) for one in found)
        return Embeddings(
            vectors=tuple(tuple(map(float, v or ())) for v in vectors),
            model=model.alias,
            usage=Usage(tokens),
        )

    def probe(self, model: Model) -> HttpRequest:
        """Counting tokens is free, and checks project, location, model and permission at once."""
        body = {"contents": [{"role": "user", "parts": [{"text": "."}]}]}
        return self.post(model, "countTokens", body)

    def list_models(self, model: Model) -> HttpRequest:
        base = self.host(model).removesuffix("/v1")
        url = f"{base}/v1beta1/publishers/google/models?pageSize=200"
        headers = self.headers(model)
        project = model.options.get("project") or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if project:
            headers["x-goog-user-project"] = str(project)
        return HttpRequest("GET", url, headers)

    def models(self, reply: HttpReply) -> list[ModelInfo]:
        names = [as_dict(row).get("name") for row in _rows(reply, "publisherModels")]
        return [ModelInfo(id=n.rpartition("/")[2]) for n in names if isinstance(n, str)]


def _rows(reply: HttpReply, key: str) -> list[Any]:
    rows = as_dict(loads(reply.body)).get(key)
    return rows if isinstance(rows, list) else []


class RenewedToken(Secret):
    """An access token that is renewed before it ends. `renew` blocks and returns a token and the
    clock time of its end; it is called here in a thread of its own, never by `reveal`."""

    __slots__ = ("_ends", "_lock", "_renew")

    def __init__(self, renew: Callable[[], tuple[str, float]]) -> None:
        value, self._ends = renew()
        super().__init__(value)
        self._renew = renew
        self._lock = threading.Lock()

    def reveal(self) -> str:
        if time.time() > self._ends - _RENEW_BEFORE and self._lock.acquire(blocking=False):
            threading.Thread(target=self._renew_now, name="vertex-token", daemon=True).start()
        return super().reveal()

    def _renew_now(self) -> None:
        try:
            self._value, self._ends = self._renew()
        except Exception:
            # The old token may still do; if not, calls fail with AUTH. Tried again in a minute.
            self._ends = time.time() + _RENEW_BEFORE + 60
        finally:
            self._lock.release()


def default_credentials(model: Model) -> tuple[Secret, str]:
    """A token of Google's application default credentials, and their project. Blocks."""
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests
    except ImportError:
        raise MissingExtra("Signing in to Vertex AI without a token", "vertex") from None
    failed = google.auth.exceptions.GoogleAuthError
    try:
        found: tuple[Any, str | None] = google.auth.default(scopes=[_SCOPE])
        credentials, project = found

        def renew() -> tuple[str, float]:
            credentials.refresh(google.auth.transport.requests.Request())
            # google-auth keeps a naive UTC time; none stated means an hour, as is usual.
            ends = credentials.expiry
            return credentials.token, _epoch(ends) if ends else time.time() + 3600

        return RenewedToken(renew), project or ""
    except failed as error:
        raise KeyMissing(
            f"[models.{model.alias}]: Google has no usable credentials for Vertex AI "
            f"({type(error).__name__}).",
            hint=(
                "Run `gcloud auth application-default login`, or set "
                f"{model.api_key_env or Vertex.key_env} to an access token."
            ),
        ) from None


def _epoch(naive_utc: Any) -> float:
    from datetime import UTC

    seconds: float = naive_utc.replace(tzinfo=UTC).timestamp()
    return seconds
