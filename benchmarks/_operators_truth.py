"""The mock's answers in `benchmarks.operators`: always right, in the form that was asked for.

A hook a task (`--respond benchmarks._operators_truth:predicate`). What is asked about is found by
looking for the data's own texts in the prompt, line by line, whichever system wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from benchmarks import _operators_data as data

Body = dict[str, Any]
_QUOTED = re.compile(r"«(.*)»")  # LOTUS: [Name]: «…»


def predicate(prompt: str, body: Body) -> str:
    [text] = found(prompt, data.about_card())
    return yes_no(data.about_card()[text], body)


def map_(prompt: str, body: Body) -> str:
    [text] = found(prompt, data.sentiment())
    return data.heading(text)


def extract(prompt: str, body: Body) -> str:
    [text] = found(prompt, data.products())
    return json.dumps(data.products()[text])


def join(prompt: str, body: Body) -> str:
    names = found(prompt, {name for pair in data.same_product() for name in pair})
    if len(names) == 1:  # LOTUS's other plan: what would the match be called?
        return ", ".join(b for a, b in sorted(data.same_product()) if a == names[0])
    same = [(names[0], name) in data.same_product() for name in names[1:]]
    if "matches" in fields(body):
        return json.dumps({"matches": [i for i, true in enumerate(same, 1) if true]})
    return yes_no(same[0], body)


def self_join(prompt: str, body: Body) -> str:
    label, wanted = data.sentiment(), fields(body)
    if "one_property" in wanted:
        values = sorted(set(label.values()))
        question = "Which sentiment does the review express?"
        return json.dumps({"one_property": True, "question": question, "values": values})
    first, *others = found(prompt, label)
    if not others:
        return json.dumps({"label": label[first]})
    same = [label[other] == label[first] for other in others]
    if "matches" in wanted:
        return json.dumps({"matches": [i for i, true in enumerate(same, 1) if true]})
    return yes_no(same[0], body)


def top_k(prompt: str, body: Body) -> str:
    price = data.prices()
    names = found(prompt, price)
    order = sorted(range(len(names)), key=lambda i: -price[names[i]])
    best = order[0] + 1
    if "order" in fields(body):
        return json.dumps({"order": [place + 1 for place in order]})
    if "label" in fields(body):
        return json.dumps({"label": str(best)})
    return f"Document {best}" if "Document NUMBER" in system(body) else str(best)


HOOKS = {
    "predicate": "predicate",
    "map": "map_",
    "extract": "extract",
    "join": "join",
    "top-k": "top_k",
    "self-join": "self_join",
}


def hook(task: str) -> str:
    return f"{__name__}:{HOOKS[task]}"


# -- reading a question


def found(prompt: str, known: Collection[str]) -> list[str]:
    """The known texts in the order in which they stand there."""
    out = []
    for line in prompt.splitlines():
        quoted = _QUOTED.search(line)
        pieces = (line, line.partition(". ")[2], line.partition(": ")[2])
        for piece in (*pieces, quoted[1] if quoted else ""):
            if piece in known:
                out.append(piece)
                break
    return out


def fields(body: Body) -> set[str]:
    """The names that the answer's schema asks for."""
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
    return set(schema.get("properties", ()))


def system(body: Body) -> str:
    first = body["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def yes_no(true: bool, body: Body) -> str:
    wanted = fields(body)
    if "output" in wanted:  # fenic
        return json.dumps({"output": true})
    if "label" in wanted:
        return json.dumps({"label": "yes" if true else "no"})
    if "True or False" in system(body):  # LOTUS
        return f"Answer: {true}"
    return "yes" if true else "no"
