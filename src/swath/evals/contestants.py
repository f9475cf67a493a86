"""Who is compared: a model as it is configured, or the same model with other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swath.errors import InputError, listing
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.evals.judge import Judge
    from swath.session import Session

SETTINGS = ("temperature", "max_tokens")
Entry = str | Mapping[str, Any]
"""An alias; or a table of `model`, settings of it, and a `name` where the settings should not be
it; or what such a name looks like: `"fast temperature=1"`."""


@dataclass(frozen=True)
class Contestant:
    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def put(self, operator: Operator) -> Operator:
        """The operator, asked of this contestant."""
        made = operator.with_model(self.model)
        for name, value in self.settings.items():
            setattr(made, name, value)  # with_model gave a copy
        return made


def contestants(models: Sequence[Entry] | str) -> tuple[Contestant, ...]:
    """In the order given. Raises InputError for fewer than two, or one named twice."""
    given = [models] if isinstance(models, str | Mapping) else list(models)
    if len(given) < 2:
        raise InputError(
            "A comparison needs at least two models.", hint='For example models=["fast", "strong"].'
        )
    found = tuple(map(_contestant, given))
    if len({each.name for each in found}) < len(found):
        raise InputError(
            "A model is named twice.",
            hint="Each once: the same question to the same model has the same answer. Other "
            'settings make it another: {"model": "fast", "temperature": 1.0}.',
        )
    return found


def _contestant(given: Entry) -> Contestant:
    if isinstance(given, str):
        model, *words = given.split()
        if not words or not all("=" in word for word in words):
            return Contestant(given, given)
        given = {"model": model, **dict(word.split("=", 1) for word in words)}
    settings = dict(given)
    model, name = settings.pop("model", None), settings.pop("name", None)
    if not isinstance(model, str):
        raise InputError(
            "A contestant has no model.", hint='For example {"model": "fast", "temperature": 1.0}.'
        )
    for key, value in settings.items():
        if key not in SETTINGS:
            raise InputError(f"A contestant has no setting '{key}'.", hint=listing(SETTINGS, key))
        settings[key] = _number(key, value)
    said = " ".join([model, *(f"{key}={value:g}" for key, value in settings.items())])
    return Contestant(name or said, model, settings)


def _number(key: str, value: Any) -> float | int:
    try:
        return int(value) if key == "max_tokens" else float(value)
    except (TypeError, ValueError):
        raise InputError(f"{key}={value!r} is no number.", hint=f"For example {key}=1.") from None


def twins(found: Sequence[Contestant], session: Session) -> list[str]:
    """Aliases of one and the same model: the store gives both the same answers."""
    seen: dict[Any, str] = {}
    notes = []
    for each in found:
        model = session.models[each.model]
        settings = sorted({**model.defaults, **each.settings}.items())
        key = (model.identity, repr(settings))
        if key in seen:
            notes.append(f"'{seen[key]}' and '{each.name}' are the same model ({model.id})")
        seen.setdefault(key, each.name)
    return notes


def judging_themselves(
    judge: Judge | None, found: Sequence[Contestant], session: Session
) -> dict[str, str]:
    """The judges that are compared too, each with the name of its own answers: by alias, or by
    provider and model id under another."""
    if judge is None:
        return {}
    by_alias = {each.model: each.name for each in reversed(found)}
    by_model = {
        (session.models[each.model].provider, session.models[each.model].id): each.name
        for each in reversed(found)
    }
    own = {}
    for alias in judge.models(session.models.default):
        model = session.models[alias]
        name = by_alias.get(alias) or by_model.get((model.provider, model.id))
        if name is not None:
            own[alias] = name
    return own
