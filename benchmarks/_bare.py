"""A bare client loop as a contender: aiohttp and the standard library's JSON, nothing else; with
`--uvloop` on that loop.

Runs in the peers' environment. `--rows` questions, `--flight` at a time: post, read, parse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from benchmarks._report import Meter


async def run(url: str, body: dict[str, Any], texts: list[str], flight: int) -> list[Any]:
    system, _ = body["messages"]
    answers: list[Any] = [None] * len(texts)
    rows = iter(enumerate(texts))
    connector = aiohttp.TCPConnector(limit=flight)
    headers = {"authorization": "Bearer none"}

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def worker() -> None:
            for i, text in rows:
                asked = body | {"messages": [system, {"role": "user", "content": text}]}
                async with session.post(f"{url}/chat/completions", json=asked) as reply:
                    answer = await reply.json()
                answers[i] = json.loads(answer["choices"][0]["message"]["content"])

        await asyncio.gather(*(worker() for _ in range(flight)))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--body", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--flight", type=int, required=True)
    parser.add_argument("--uvloop", action="store_true")
    args = parser.parse_args()
    texts = json.loads(Path(args.texts).read_text())[: args.rows]
    body = json.loads(Path(args.body).read_text())
    loop = uvloop.new_event_loop if args.uvloop else asyncio.new_event_loop
    with Meter() as meter, asyncio.Runner(loop_factory=loop) as runner:
        answers = runner.run(run(args.url, body, texts, args.flight))
    assert all(answer["claim"] for answer in answers)
    meter.tell(args.rows)


if __name__ == "__main__":
    main()
