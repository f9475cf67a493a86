"""The operator that a golden set tests, for each model and each version of its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swath.errors import InputError
from swath.evals.golden.names import load
from swath.evals.golden.toml import GoldenError, Table
from swath.operators.base import Operator
from swath.operators.classify import Classify
from swath.operators.extract import Extract
from swath.operators.map import Map
from swath.operators.predicate import Predicate
from swath.operators.template import Template
from swath.prompting.prompt import Prompt

KINDS = ("classify", "extract", "map", "predicate", "python")


@dataclass(frozen=True)
class Maker:
    """Makes the operator. `prompt` is its template (map, predicate) or instructions (classify,
    extract); `wanted` names a stored one, `reply@2`, to be looked up when the session is there."""

    kind: str
    settings: dict[str, Any]
    prompt: str | None = None
    wanted: str = ""

    def make(self, model: str | None, prompt: str | None = None) -> Operator:
        """Raises InputError."""
        from swath import operators

        said = self.prompt if prompt is None else prompt
        given = {**self.settings, "model": model}
        if self.kind == "python":
            return _from_python(given, said)
        if self.kind in ("map", "predicate"):
            if said is None:
                raise InputError("The operator has no prompt.", hint='Give prompt = "…{column}".')
            make = operators.map if self.kind == "map" else operators.predicate
            made: Operator = make(said, **given)
            return made
        text = given.pop("text")
        if self.kind == "extract":
            return operators.extract(text, given.pop("schema"), instructions=said, **given)
        return operators.classify(text, given.pop("labels"), instructions=said, **given)


def read_operator(table: Table, folder: Path) -> Maker:
    """From the `[operator]` table. Raises GoldenError."""
    kind = table.text("kind")
    if kind is None:
        table.required("kind", '"classify"')
    if kind not in KINDS:
        table.one_of("kind", kind, KINDS, "operator")
    settings: dict[str, Any] = {}
    if kind == "python":
        name = table.text("function")
        if not name:
            table.required("function", '"operators.py:triage"')
        settings["made"] = load(table, "function", name, folder)
    else:
        settings["temperature"] = table.number("temperature")
        settings["max_tokens"] = table.whole("max_tokens", None, least=1)
    if kind in ("classify", "extract"):
        settings["text"] = table.text("text") or table.required("text", '"text"')
    if kind == "extract":
        settings["schema"] = _schema(table, folder)
    if kind == "classify":
        settings["labels"] = _labels(table)
        settings["multi"] = table.flag("multi")
    if kind in ("map", "predicate"):
        settings["instructions"] = table.text("instructions")
    if kind == "map" and table.has("schema"):
        settings["response"] = _schema(table, folder)
    prompt, wanted = _prompt(table, folder)
    table.done()
    if kind in ("map", "predicate") and prompt is None and not wanted:
        table.required("prompt", '"Answer this customer: {text}"')
    return Maker(kind, settings, prompt, wanted)


def with_prompt(operator: Operator, prompt: str) -> Operator:
    """The same operator with another template or other instructions."""
    common: dict[str, Any] = {
        "model": operator.model,
        "temperature": operator.temperature,
        "max_tokens": operator.max_tokens,
    }
    if isinstance(operator, Map):
        return Map(Template(prompt), operator.shape, operator.instructions, **common)
    if isinstance(operator, Predicate):
        return Predicate(Template(prompt), operator.instructions, **common)
    if isinstance(operator, Extract):
        return Extract(operator.text, operator.shape, prompt, **common)  # type: ignore[arg-type]
    if isinstance(operator, Classify):
        return Classify(
            operator.text,  # type: ignore[arg-type]
            operator.labels,
            multi=operator.multi,
            scores=operator.scores,
            instructions=prompt,
            **common,
        )
    raise InputError(
        f"{operator.describe()} takes no other prompt.",
        hint="Only extract, classify, map and predicate do.",
    )


def prompt_of(operator: Operator) -> str:
    """The template or instructions as the user gave them, "" for none."""
    if isinstance(operator.text, Template):
        return operator.text.text
    return getattr(operator, "instructions", None) or ""


def is_template(operator: Operator) -> bool:
    return isinstance(operator.text, Template)


def _from_python(settings: dict[str, Any], prompt: str | None) -> Operator:
    made, model = settings["made"], settings["model"]
    operator = made if isinstance(made, Operator) else made()
    if not isinstance(operator, Operator):
        raise InputError(
            f"The function gives {type(operator).__name__}, and not an operator.",
            hint='Let it return one, for example sw.extract("text", Triage).',
        )
    if prompt is not None:
        operator = with_prompt(operator, prompt)
    if model is not None:
        operator = operator.with_model(model)
    return operator


def _schema(table: Table, folder: Path) -> Any:
    given = table.any("schema")
    if isinstance(given, str):
        if ".py:" in given:
            return load(table, "schema", given, folder)
        import msgspec

        try:
            given = msgspec.json.decode((folder / given).read_bytes())
        except OSError as error:
            table.wrong("schema", f"The schema '{given}' cannot be read: {error.strerror}")
        except msgspec.DecodeError as error:
            table.wrong("schema", f"The schema '{given}' is not valid JSON: {error}")
    if not isinstance(given, dict):
        table.required("schema", '"schema.py:Triage"')
    return given


def _labels(table: Table) -> Any:
    given = table.any("labels")
    if not isinstance(given, list | dict):
        table.required("labels", '["card", "loan"]')
    return given


def _prompt(table: Table, folder: Path) -> tuple[str | None, str]:
    """`prompt = "text"`, or a table: `text` or `file`, with or without `name`; or `name` alone,
    with or without `version`: the stored one."""
    inner = table.either("prompt")
    if not isinstance(inner, Table):
        return inner, ""
    text, file, name = inner.text("text"), inner.text("file"), inner.text("name")
    version = inner.any("version")
    inner.done()
    if file is not None:
        try:
            text = (folder / file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            inner.wrong("file", f"The prompt '{file}' cannot be read: {reason}")
    if text is None and name is None:
        inner.required("name", '"reply"')
    if text is None:
        return None, f"{name}@{'latest' if version is None else version}"
    if version is not None:
        inner.wrong("version", "A prompt with its own text has no 'version'", "Leave it out.")
    if name is None:
        return text, ""
    try:
        return Prompt(text, name=name), ""
    except InputError as error:
        raise GoldenError(error.message, hint=error.hint) from None
