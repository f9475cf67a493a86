"""Reading Gemini's request bodies. What is wrong with one is a ValueError in Google's words."""

from __future__ import annotations

from typing import Any

from .answers import Call, names
from .schema import form
from .server import encode

_TOP = names(
    "contents systemInstruction generationConfig safetySettings tools toolConfig cachedContent "
    "model labels"
)
_CONFIG = names(
    "temperature topP topK candidateCount maxOutputTokens stopSequences seed responseMimeType "
    "responseSchema responseJsonSchema responseLogprobs logprobs presencePenalty "
    "frequencyPenalty thinkingConfig responseModalities speechConfig mediaResolution "
    "enableEnhancedCivicAnswers audioTimestamp routingConfig imageConfig"
)
# google.ai.generativelanguage.Schema; JSON schema proper goes in responseJsonSchema.
_SCHEMA = names(
    "type format title description nullable enum maxItems minItems properties required "
    "minProperties maxProperties minLength maxLength pattern example anyOf propertyOrdering "
    "default items minimum maximum"
)
_TYPES = names("TYPE_UNSPECIFIED STRING NUMBER INTEGER BOOLEAN ARRAY OBJECT NULL")


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _fields(body: Any, known: frozenset[str], where: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValueError(f"Invalid value at '{where}': not an object")
    if body.keys() <= known:
        return body
    out = {}
    for name, value in body.items():
        if camel(name) not in known:
            at = f" at '{where}'" if where else ""
            raise ValueError(
                f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
            )
        out[camel(name)] = value
    return out


def _camels(fields: dict[str, Any]) -> dict[str, Any]:
    return {camel(name): value for name, value in fields.items()}


def read_body(call: Call, *, vertex: bool, schemas: bool) -> None:
    body = _fields(call.body, _TOP, "")
    contents = body.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not contents:
        raise ValueError("* GenerateContentRequest.contents: contents is not specified")
    answered = _read_contents(call, contents)
    system = body.get("systemInstruction")
    if system:
        call.system = _text(system if isinstance(system, dict) else {"parts": system})
    _read_tools(call, body, answered)
    config = _fields(body.get("generationConfig") or {}, _CONFIG, "generation_config")
    call.max_tokens = config.get("maxOutputTokens")
    call.stop = list(config.get("stopSequences") or ())
    if config.get("candidateCount") not in (None, 1):
        raise ValueError("Only one candidate can be specified in this test server")
    temperature = config.get("temperature")
    if temperature is not None and not 0 <= temperature <= 2:
        raise ValueError(
            "* GenerateContentRequest.generation_config.temperature: temperature must be in the "
            "range [0.0, 2.0]."
        )
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise ValueError("logprobs can be set only if response_logprobs is true")
    if config.get("responseLogprobs"):
        call.logprobs = config.get("logprobs") or 0
    _read_format(call, config, vertex=vertex, schemas=schemas)


def _read_contents(call: Call, contents: list[Any]) -> bool:
    """True where the last word is a function's result."""
    answered = False
    for i, content in enumerate(contents):
        role = content.get("role") or "user"
        if role not in ("user", "model", "function"):
            raise ValueError("Please use a valid role: user, model.")
        parts = content.get("parts") or []
        parts = parts if isinstance(parts, list) else [parts]
        if not parts:
            raise ValueError(
                f"* GenerateContentRequest.contents[{i}].parts: contents.parts must not be empty."
            )
        answered = any("functionResponse" in p or "function_response" in p for p in parts)
        text = _text(content)
        if role == "user" and not answered:
            call.users.append(text)
        else:
            call.other += text
    return answered


def _text(content: dict[str, Any]) -> str:
    parts = content.get("parts") or []
    text = ""
    for part in parts if isinstance(parts, list) else [parts]:
        if "text" in part:
            text += part["text"]
        else:
            part = _camels(part)
            used = part.get("functionCall") or part.get("functionResponse")
            text += encode(used).decode() if used else ""
    return text


def _read_tools(call: Call, body: dict[str, Any], answered: bool) -> None:
    for tool in body.get("tools") or ():
        for one in map(_camels, _camels(tool).get("functionDeclarations") or ()):
            schema = one.get("parametersJsonSchema") or one.get("parameters") or {"type": "object"}
            call.tools.append((one.get("name", ""), form(schema)))
    if not call.tools:
        return
    config = _camels(_camels(body.get("toolConfig") or {}).get("functionCallingConfig") or {})
    mode = config.get("mode", "AUTO")
    allowed = config.get("allowedFunctionNames") or [call.tools[0][0]]
    if mode == "ANY" or (mode == "AUTO" and not answered):
        call.tool = allowed[0]


def _read_format(call: Call, config: dict[str, Any], *, vertex: bool, schemas: bool) -> None:
    mime = config.get("responseMimeType", "text/plain")
    schema, proper = config.get("responseSchema"), config.get("responseJsonSchema")
    if schema and proper:
        raise ValueError("Only one of response_schema and response_json_schema may be set.")
    if (schema or proper) and not schemas:
        raise ValueError("Json mode with a schema is not enabled for this model")
    wanted = schema or proper
    if wanted and mime not in ("application/json", "text/x.enum"):
        raise ValueError(
            f"* GenerateContentRequest.generation_config.response_schema: Response schema with "
            f"response mime type: '{mime}' is unsupported"
        )
    if schema and not vertex and (fault := form(schema).verdict("google", schema_fault)):
        raise ValueError(fault)
    if wanted:
        call.schema = form(wanted)
    else:
        call.json_mode = mime == "application/json"


def schema_fault(schema: Any, where: str = "generation_config.response_schema") -> str | None:
    """Why Gemini's API refuses a responseSchema, or None."""
    if not isinstance(schema, dict):
        return f"Invalid value at '{where}': not an object"
    for name in schema:
        if camel(name) not in _SCHEMA:
            return (
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find "
                "field."
            )
    kind = schema.get("type")
    if kind is not None and (not isinstance(kind, str) or kind.upper() not in _TYPES):
        return f"Invalid value at '{where}.type': {kind!r}"
    if str(kind).upper() == "OBJECT" and "properties" in schema and not schema["properties"]:
        return f"* GenerateContentRequest.{where}.properties: should be non-empty for OBJECT type"
    if str(kind).upper() == "ARRAY" and "items" not in schema:
        return f"* GenerateContentRequest.{where}.items: missing field."
    parts = [
        *(
            (sub, f"{where}.properties[{i}].value")
            for i, sub in enumerate((schema.get("properties") or {}).values())
        ),
        *((sub, f"{where}.any_of[{i}]") for i, sub in enumerate(schema.get("anyOf") or ())),
    ]
    if "items" in schema:
        parts.append((schema["items"], f"{where}.items"))
    return next((fault for sub, at in parts if (fault := schema_fault(sub, at))), None)


def read_embedding(body: dict[str, Any], how: str) -> list[str]:
    if how == "predict":
        return [str(one.get("content", "")) for one in body.get("instances") or ()]
    asked = body.get("requests") if how == "batchEmbedContents" else [body]
    if not asked:
        raise ValueError("* BatchEmbedContentsRequest.requests: requests is not specified")
    texts = []
    for one in asked:
        if not (one.get("content") or {}).get("parts"):
            raise ValueError("* EmbedContentRequest.content: contents is not specified")
        texts.append(_text(one["content"]))
    return texts
