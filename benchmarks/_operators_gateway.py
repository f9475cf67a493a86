"""A loopback server that speaks OpenAI's chat format and asks the packaged model, so that systems
that know no other door can be compared over it. It counts what it answers, and tells and forgets
it at the mock's own doors. A process of its own: the model's memory is not the contenders'.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import swath as sw
from benchmarks import _report
from tests.servers import Remote

LONGEST = 128  # tokens of an answer: the packaged model is slow


class Gateway(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, session: sw.Session) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.session = session
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.counted = dict.fromkeys(
            ("answered", "prompt_tokens", "completion_tokens", "in_flight_peak"), 0
        )
        self.in_flight = 0

    def answer(self, body: dict[str, Any]) -> sw.Completion:
        wanted = body.get("response_format") or {}
        schema = wanted.get("json_schema", {}).get("schema")
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or LONGEST
        with self.lock:
            self.in_flight += 1
            self.counted["in_flight_peak"] = max(self.counted["in_flight_peak"], self.in_flight)
        try:
            messages = [{"role": m["role"], "content": said(m)} for m in body["messages"]]
            # Nothing is taken from the store: each system pays for its own questions.
            done = self.session.complete(
                messages,
                response=schema,
                max_tokens=min(limit, LONGEST),
                temperature=0.0,
                fresh=True,
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

    def do_GET(self) -> None:
        self.say(200, self.server.counted)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/__reset":
            self.server.reset()
            self.say(200, {})
            return
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
def gateway() -> Iterator[Remote]:
    command = [_report.PYTHON, "-m", "benchmarks._operators_gateway"]
    root = _report.ROOT
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit("The local model could not be loaded: try `swath models`.")
            url = json.loads(line)["url"]
            yield Remote(url, f"{url}/v1", process)
        finally:
            process.terminate()
            process.wait(10)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = {"store": f"sqlite:///{folder}/swath.db"}
        with sw.Session(config, check=False) as session:
            session.complete("Are you there?", max_tokens=1)  # loading it is nobody's time
            server = Gateway(session)
            print(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}"}), flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
