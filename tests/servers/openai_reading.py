"""Reading OpenAI's request bodies, and refusing them as OpenAI does."""

from __future__ import annotations

from typing import Any

from .answers import Answer, Call, pieces
from .openai_schema import strict_fault
from .openai_words import body_of
from .schema import form
from .trip import Rejected

REASONING = ("o1", "o3", "o4", "gpt-5")


def inputs(given: Any) -> list[str]:
    if isinstance(given, str) and given:
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(item, int) for item in given):
            return [" ".join(map(str, given))]
        return [i if isinstance(i, str) else " ".join(map(str, i)) for i in given]
    message = "'$.input' is invalid. Please check the API reference."
    raise Rejected(400, body_of(message, param="input"))


def read_message(call: Call, message: Any, at: int) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("system", "developer", "user", "assistant", "tool", "function"):
        param = f"messages[{at}].role"
        text = f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', …"
        raise Rejected(400, body_of(text, param=param, code="invalid_value"))
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content)
    elif content is None:
        if role == "user":
            text = "Invalid value for 'content': expected a string, got null."
            raise Rejected(400, body_of(text, param=f"messages.[{at}].content"))
        content = ""
    if role == "user":
        call.users.append(content)
    elif role in ("system", "developer"):
        call.system += content
    else:
        call.other += content
        for made in message.get("tool_calls") or ():
            call.other += made["function"]["arguments"]


def check_reasoning(body: dict[str, Any]) -> None:
    if body.get("max_tokens") is not None:
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead."
        )
        raise Rejected(400, body_of(message, param="max_tokens", code="unsupported_parameter"))
    for name in ("temperature", "top_p"):
        if body.get(name) not in (None, 1, 1.0):
            message = (
                f"Unsupported value: '{name}' does not support {body[name]} with this model. Only "
                "the default (1) value is supported."
            )
            raise Rejected(400, body_of(message, param=name, code="unsupported_value"))
    for name in ("stop", "logprobs", "top_logprobs"):
        if body.get(name):
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise Rejected(400, body_of(message, param=name, code="unsupported_parameter"))


def read_tools(call: Call, body: dict[str, Any]) -> None:
    for i, tool in enumerate(body["tools"]):
        function = tool.get("function") or {}
        schema = form(function.get("parameters") or {"type": "object", "properties": {}})
        if function.get("strict") and (fault := schema.verdict("openai", strict_fault)):
            message = f"Invalid schema for function '{function.get('name')}': {fault}"
            param = f"tools[{i}].function.parameters"
            raise Rejected(400, body_of(message, param=param, code="invalid_function_parameters"))
        call.tools.append((function.get("name", ""), schema))
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        call.tool = (choice.get("function") or {}).get("name")
    elif choice == "required" or (
        # Left to itself the model uses a tool once, and then talks about what it gave.
        choice == "auto" and body["messages"][-1].get("role") != "tool"
    ):
        call.tool = call.tools[0][0]


def logprobs(call: Call, answer: Answer) -> dict[str, Any] | None:
    if call.logprobs is None:
        return None
    content = []
    for i, token in enumerate(pieces(answer.text, 4)):
        top = {token: -0.01 * (i % 7 + 1), f"{token[:3]}?": -4.0, "~": -6.0, "_": -8.0}
        if i == 0 and answer.top_logprobs:
            top = dict(sorted(answer.top_logprobs.items(), key=lambda item: -item[1]))
        entries = [
            {"token": text, "logprob": value, "bytes": list(text.encode())}
            for text, value in top.items()
        ]
        chosen = next((e for e in entries if e["token"] == token), entries[0])
        content.append({**chosen, "top_logprobs": entries[: call.logprobs]})
    return {"content": content, "refusal": None}
