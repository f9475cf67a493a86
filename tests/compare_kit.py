"""A small world for comparisons: models that answer by script, and judges of known character.

Row i asks about "ticket i". `good` answers "right i"; `weak` is right where i % 4 == 0 and else
says "wrong i". Judges: `fair` knows the right answer, `first` prefers whatever stands first,
`mute` says nothing that can be read about every third ticket, `contrary` prefers the wrong one.
"""

from __future__ import annotations

import re
from typing import Any

from swath.session import Session
from tests.conftest import Open
from tests.servers import OpenAIServer

PRICES = {"weak": (1.0, 4.0), "good": (9.0, 36.0)}


def number(text: str) -> int:
    found = re.search(r"ticket (\d+)", text)
    assert found is not None, "the prompt holds no ticket"
    return int(found[1])


def blocks(prompt: str) -> dict[str, str]:
    return dict(re.findall(r"<(\w+)>\n(.*?)\n</\1>", prompt, re.DOTALL))


def asked(body: dict[str, Any]) -> str:
    """The question itself, also where it is repeated after an answer of the wrong shape."""
    return str(next(m["content"] for m in body["messages"] if m["role"] == "user"))


def respond(_: str, body: dict[str, Any]) -> Any:
    prompt = asked(body)
    name, i = body["model"], number(prompt)
    if name == "good":
        return f"right {i}"
    if name == "weak":
        return f"right {i}" if i % 4 == 0 else f"wrong {i}"
    shown = blocks(prompt)
    if "answer" in shown:
        return {
            "quality": {"justification": "seen", "score": 5 if "right" in shown["answer"] else 2}
        }
    return opinion(name, i, shown["answer_1"], shown["answer_2"], prompt)


def opinion(name: str, i: int, one: str, two: str, prompt: str) -> Any:
    better = "1" if one.startswith("right") else "2"
    verdict = {
        "fair": better,
        "first": "1",
        "mute": "??" if i % 3 == 0 else better,
        "contrary": {"1": "2", "2": "1"}[better],
    }[name]
    return {"justification": f"{one} against {two}", "verdict": verdict}


def world(open_session: Open, server: OpenAIServer, **more: Any) -> Session:
    """A session with every model and judge of this world on `server`."""
    tables: dict[str, Any] = {}
    for name in ("weak", "good", "fair", "first", "mute", "contrary"):
        price = PRICES.get(name, (1.0, 4.0))
        settings = {"model": name, "price": {"input": price[0], "output": price[1]}}
        tables[name] = (server, settings | more)
    return open_session(**tables)


def tickets(n: int) -> dict[str, list[Any]]:
    return {"text": [f"ticket {i} is here" for i in range(n)], "id": list(range(n))}
