"""Tools: how a local model is offered them, and how its calls are read.

The chat template says what is offered. Small models leave out the marks that it asks for around a
call, so a reply is read for what it says; where a call is required, the reply is held to one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swath.messages import Request, Tool, ToolCall

_MARKED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


def offered(request: Request) -> tuple[Tool, ...]:
    """The tools that `tool_choice` leaves."""
    chosen = request.tool_choice or "auto"
    if chosen == "none":
        return ()
    if chosen in ("auto", "required"):
        return request.tools
    return tuple(tool for tool in request.tools if tool.name == chosen)


def described(tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """As chat templates take them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _parameters(tool),
            },
        }
        for tool in tools
    ]


def required(request: Request) -> dict[str, Any] | None:
    """The schema of one call, where the request wants one; None where the model may choose."""
    if (request.tool_choice or "auto") in ("auto", "none"):
        return None
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _parameters(tool)},
            "required": ["name", "arguments"],
        }
        for tool in offered(request)
    ]
    return {"anyOf": calls} if calls else None


def _parameters(tool: Tool) -> dict[str, Any]:
    return {"type": "object", "properties": {}, **tool.parameters}


def calls(text: str, tools: tuple[Tool, ...]) -> tuple[ToolCall, ...]:
    """The calls in a reply; () where it is an ordinary answer."""
    names = {tool.name for tool in tools}
    found: list[ToolCall] = []
    for part in _MARKED.findall(text) or [text]:
        at = 0
        while (value := _value(part, at)) is not None:
            call, at = value
            if call.get("name") not in names or not isinstance(call.get("arguments", {}), dict):
                break
            arguments = json.dumps(call.get("arguments", {}), ensure_ascii=False)
            found.append(ToolCall(f"call_{len(found)}", str(call["name"]), arguments))
    return tuple(found)


def _value(text: str, at: int) -> tuple[Mapping[str, Any], int] | None:
    """The JSON object at `at`, and where it ends."""
    while at < len(text) and text[at].isspace():
        at += 1
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except ValueError:
        return None
    return (value, end) if isinstance(value, dict) else None
