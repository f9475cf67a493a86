"""What llama.cpp's server streams, put together as one `Completion`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from swath.errors import Kind, ProviderError
from swath.local.choices import Dropped
from swath.local.server import failed
from swath.messages import Chunk, Completion, Finish, TokenLogprob, Usage

_FINISH: dict[str, Finish] = {"stop": "stop", "length": "length"}


class Gathering:
    """Hears the events of one answer."""

    def __init__(self, dropped: threading.Event, on_chunk: Callable[[Chunk], None] | None) -> None:
        self._dropped, self._on_chunk = dropped, on_chunk
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._finish: Finish | None = None
        self._usage = Usage()
        self._id = ""

    def __call__(self, event: dict[str, Any]) -> bool:
        """Take one event. True: stop."""
        if "error" in event:
            raise failed(event["error"])
        if "code" in event and "message" in event:
            raise failed(event)
        self._id = event.get("id", self._id)
        for choice in event.get("choices") or ():
            self._take(choice)
        if usage := event.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            self._usage = Usage(
                input_tokens=usage["prompt_tokens"],
                output_tokens=usage["completion_tokens"],
                cached_input_tokens=details.get("cached_tokens", 0),
            )
        return self._dropped.is_set()

    def _take(self, choice: Mapping[str, Any]) -> None:
        # A chat tells its text in one place, a bare prompt in another.
        if text := (choice.get("delta") or {}).get("content") or choice.get("text"):
            self._text.append(text)
            if self._on_chunk:
                self._on_chunk(Chunk(text=text))
        for token in (choice.get("logprobs") or {}).get("content") or ():
            top = {t["token"]: t["logprob"] for t in token.get("top_logprobs") or ()}
            self._logprobs.append(TokenLogprob(token["token"], token["logprob"], top))
        if choice.get("finish_reason"):
            self._finish = _FINISH.get(choice["finish_reason"], "stop")

    def completion(self, *, alternatives: int | None) -> Completion:
        """The whole answer. Raises Dropped; ProviderError where the stream broke off."""
        if self._dropped.is_set():
            raise Dropped
        if self._finish is None:
            raise ProviderError(Kind.SERVER, "the model stopped without an end.")
        logprobs = tuple(self._logprobs)
        if alternatives is None:
            logprobs = ()
        elif alternatives == 0:
            logprobs = tuple(TokenLogprob(t.token, t.logprob) for t in logprobs)
        return Completion(
            text="".join(self._text),
            finish=self._finish,
            logprobs=logprobs,
            usage=self._usage,
            request_id=self._id,
        )
