"""Asking a server over plain HTTP, for the tests of the servers themselves."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "enum": ["trade", "health"]},
        "quote": {"type": "string"},
        "score": {"type": "integer"},
    },
    "required": ["topic", "quote", "score"],
    "additionalProperties": False,
}
SPEECH = "Extract.\n\nThe sky is blue. Grass is green! Who would say no to that?"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events; "[DONE]" as it stands, comments left out."""
        blocks = self.body.replace(b"\r\n", b"\n").split(b"\n\n")
        lines = [line for block in blocks for line in block.split(b"\n")]
        data = [line[6:] for line in lines if line.startswith(b"data: ")]
        return [one.decode() if one == b"[DONE]" else json.loads(one) for one in data]


def ask(url: str, body: Any = None, **headers: str) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        method = "GET" if body is None else "POST"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, data, lines)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def openai_body(text: str = SPEECH, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": text}], **more}


def openai_format(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": strict},
    }
