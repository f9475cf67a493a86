"""A loopback server that speaks OpenAI's chat format and asks the packaged model, so that systems
that know no other door can be compared over it. It counts what it answers, as the mock does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import swath as sw


class Gateway(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, session: sw.Session) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.session = session
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.counted = dict.fromkeys(
            ("answered", "prompt_tokens", "completion_tokens", "in_flight_peak"), 0
        )
        self.in_flight = 0

    def stats(self) -> dict[str, int]:
        return self.counted

    def answer(self, body: dict[str, Any]) -> sw.Completion:
        wanted = body.get("response_format") or {}
        schema = wanted.get("json_schema", {}).get("schema")
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 128
        with self.lock:
            self.in_flight += 1
            self.counted["in_flight_peak"] = max(self.counted["in_flight_peak"], self.in_flight)
        try:
            messages = [{"role": m["role"], "content": said(m)} for m in body["messages"]]
            # Nothing is taken from the store: each system pays for its own questions.
            done = self.session.complete(
                messages, response=schema, max_tokens=min(limit, 128), temperature=0.0, fresh=True
            )
        finally:
            with self.lock:
                self.in_flight -= 1
        with self.lock:
            self.counted["answered"] += 1
            self.counted["prompt_tokens"] += done.usage.input_tokens
            self.counted["completion_tokens"] += done.usage.output_tokens
        return done


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            done = self.server.answer(body)
        except sw.SwathError as error:
            self.say(400, {"error": {"message": str(error), "type": "invalid_request_error"}})
            return
        used = (done.usage.input_tokens, done.usage.output_tokens)
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
        message = {"role": "assistant", "content": done.text}
        choice = {"index": 0, "message": message, "finish_reason": done.finish}
        kind = {"id": "local", "object": "chat.completion", "created": 0, "model": body["model"]}
        self.say(200, {**kind, "choices": [choice], "usage": usage})

    def say(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the table is what is wanted."""


def said(message: dict[str, Any]) -> str:
    """A message's text; some clients send it in parts."""
    content = message["content"]
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


@contextmanager
def gateway(folder: str) -> Iterator[Gateway]:
    """`folder` takes the store."""
    config = {"store": f"sqlite:///{folder}/swath.db"}
    with sw.Session(config, check=False) as session:
        server = Gateway(session)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
