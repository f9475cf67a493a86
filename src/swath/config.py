"""`swath.toml`: found, read and checked. Every mistake is named with its key and what would do."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from swath.catalog.model import Price
from swath.catalog.routed import route_of
from swath.errors import ConfigError, listing
from swath.providers import LOCAL, NAMES, provider

FILE = "swath.toml"
DEFAULT_STORE = "sqlite:///.swath/swath.db"
DEFAULTS = ("temperature", "top_p", "max_tokens", "seed", "stop", "logprobs", "extra")


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A `[models.alias]` table, as written. See docs/config.md for each key."""

    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    rpm: float | None = None
    tpm: float | None = None
    input_tpm: float | None = None
    output_tpm: float | None = None
    concurrency: int | None = None
    timeout: float = 60.0
    deadline: float = 300.0
    price: Price | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    fallback: tuple[str, ...] = ()
    profiles: dict[str, dict[str, Any]] = {}
    options: dict[str, Any] = {}
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    logprobs: int | None = None
    extra: dict[str, Any] | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in DEFAULTS}
        return {name: value for name, value in values.items() if value is not None}


class RouterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[router]` table: what `auto` means. `artifact` is a file that `swath router train` wrote
    (relative to swath.toml) or `default`; `weak` and `strong` are aliases, `models` gives an alias
    to each of the artifact's own names of models. `share` of calls go to the strong model where the
    router was not calibrated. `explore` is the share of calls that go to another model, `shadow`
    that of calls that are also put to another, for at most `shadow_budget` dollars a session."""

    artifact: str = "default"
    weak: str | None = None
    strong: str | None = None
    models: dict[str, str] = {}
    share: float = 0.5
    explore: float = 0.0
    shadow: float = 0.0
    shadow_budget: float = 1.0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole config. `path` is the file it came from, `base` the folder that paths start at."""

    models: dict[str, ModelConfig]
    default_model: str
    store: str
    check_keys: bool
    base: Path
    router: RouterConfig = RouterConfig()
    keep_prompts: bool = False
    path: Path | None = None
    env: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Config(path={self.path}, models={list(self.models)})"


_TOP = ("default_model", "store", "check_keys", "keep_prompts", "models", "router")
_POSITIVE = ("rpm", "tpm", "input_tpm", "output_tpm", "concurrency", "timeout", "deadline")


def load(source: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> Config:
    """The config in `source`: a path, a dict of the same shape, or None for `SWATH_CONFIG`, else
    swath.toml in the working directory or a parent, else none at all. Raises ConfigError."""
    if isinstance(source, Mapping):
        return _build(dict(source), Path.cwd(), None)
    path = _find() if source is None else Path(source).expanduser()
    if path is None:
        return _build({}, Path.cwd(), None)
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"'{path}' is not valid TOML: {error}.", hint="Mend that line.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"'{path}' is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(
            f"The config '{path}' cannot be read: {error.strerror}.",
            hint="Give another path, or unset SWATH_CONFIG.",
        ) from None
    return _build(table, path.resolve().parent, path)


def _find() -> Path | None:
    named = os.environ.get("SWATH_CONFIG")
    if named:
        return Path(named).expanduser()
    here = Path.cwd()
    return next((p / FILE for p in (here, *here.parents) if (p / FILE).is_file()), None)


def _build(table: dict[str, Any], base: Path, path: Path | None) -> Config:
    where = f"'{path}'" if path else "the config"
    unknown = [key for key in table if key not in _TOP]
    if unknown:
        raise ConfigError(
            f"{where} has an unknown key '{unknown[0]}'.", hint=listing(_TOP, unknown[0])
        )
    sections = table.get("models", {})
    if not isinstance(sections, Mapping):
        raise ConfigError(f"{where}: models must be tables.", hint="Write [models.NAME].")
    models = {alias: _model(alias, section, where) for alias, section in sections.items()}
    for alias, model in models.items():
        for name in model.fallback:
            if name.partition(":")[0] not in models and "/" not in name and name != LOCAL:
                raise ConfigError(
                    f"{where}: the fallback '{name}' of '{alias}' is no model.",
                    hint=listing(models, name),
                )
    default = table.get("default_model") or next(iter(models), LOCAL)
    top = {"default_model": str, "store": str, "check_keys": bool, "keep_prompts": bool}
    for key, kind in top.items():
        if key in table and not isinstance(table[key], kind):
            raise ConfigError(f"{where}: {key} must be a {kind.__name__}.", hint="See docs.")
    known = default.partition(":")[0] in models or default == LOCAL or "/" in default
    if not known and route_of(default) is None:
        raise ConfigError(
            f"{where}: default_model '{default}' is no model.",
            hint=listing([*models, LOCAL], default),
        )
    return Config(
        models=models,
        default_model=default,
        store=os.environ.get("SWATH_STORE") or table.get("store") or DEFAULT_STORE,
        check_keys=table.get("check_keys", True)
        and os.environ.get("SWATH_CHECK_KEYS", "1") not in ("0", "false", "no"),
        base=base,
        router=_router(table.get("router", {}), models, where),
        keep_prompts=table.get("keep_prompts", False),
        path=path,
        env=_environment(base),
    )


def _model(alias: str, section: Any, where: str) -> ModelConfig:
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: models.{alias} must be a table.", hint="Write [models.NAME].")
    if ":" in alias or "/" in alias:
        raise ConfigError(
            f"{where}: the alias '{alias}' holds ':' or '/'.",
            hint="Those mark profiles and providers: choose another name.",
        )
    known = {field.name for field in msgspec.structs.fields(ModelConfig)}
    name = section.get("provider")
    if name not in NAMES:
        raise ConfigError(
            f"{where}: models.{alias} has no provider."
            if name is None
            else f"{where}: models.{alias} names an unknown provider '{name}'.",
            hint=listing(NAMES, str(name or "")),
        )
    own = provider(name).options if name != LOCAL else _LOCAL_OPTIONS
    unknown = [key for key in section if key not in known and key not in own]
    if unknown:
        raise ConfigError(
            f"{where}: models.{alias} has an unknown key '{unknown[0]}'.",
            hint=listing(known | own, unknown[0]),
        )
    table = {key: value for key, value in section.items() if key in known and key not in own}
    table["options"] = {
        **section.get("options", {}),
        **{key: value for key, value in section.items() if key in own},
    }
    if name == LOCAL:
        from swath.local.weights import DEFAULT_CHAT

        table.setdefault("model", DEFAULT_CHAT)
    if not table.get("model"):
        raise ConfigError(
            f"{where}: models.{alias} has no model.",
            hint='Give the provider\'s id of it: model = "gpt-4.1-nano".',
        )
    try:
        model = msgspec.convert(table, ModelConfig)
    except msgspec.ValidationError as error:
        what = str(error).replace("`$.", f"`models.{alias}.").replace("`", "'")
        raise ConfigError(f"{where}: {what}.", hint="See docs/config.md.") from None
    for key in _POSITIVE:
        value = getattr(model, key)
        if value is not None and value <= 0:
            raise ConfigError(
                f"{where}: models.{alias}.{key} must be more than 0.",
                hint="Leave it out where it is not known.",
            )
    return model


def _router(section: Any, models: Mapping[str, ModelConfig], where: str) -> RouterConfig:
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: router must be a table.", hint="Write [router].")
    known = RouterConfig.__struct_fields__
    if unknown := [key for key in section if key not in known]:
        raise ConfigError(
            f"{where}: router has an unknown key '{unknown[0]}'.", hint=listing(known, unknown[0])
        )
    try:
        router = msgspec.convert(section, RouterConfig)
    except msgspec.ValidationError as error:
        what = str(error).replace("`$.", "`router.").replace("`", "'")
        raise ConfigError(f"{where}: {what}.", hint="See docs/serve.md.") from None
    for key in ("share", "explore", "shadow"):
        if not 0 <= getattr(router, key) <= 1:
            raise ConfigError(
                f"{where}: router.{key} is a share.", hint="Give a number from 0 to 1."
            )
    if router.shadow_budget < 0:
        raise ConfigError(f"{where}: router.shadow_budget is below 0.", hint="Give dollars.")
    named = [router.weak, router.strong, *router.models.values()]
    for alias in (name for name in named if name is not None):
        if alias.partition(":")[0] not in models and "/" not in alias and alias != LOCAL:
            raise ConfigError(
                f"{where}: router names '{alias}', which is no model.",
                hint=listing(models, alias),
            )
    if router.weak is not None and router.weak == router.strong:
        raise ConfigError(
            f"{where}: router.weak and router.strong are the same model.", hint="Name two."
        )
    return router


_LOCAL_OPTIONS = frozenset({"slots", "threads", "context", "gpu_layers"})


def _environment(base: Path) -> Mapping[str, str]:
    """Variables of a .env beside the config or in the working directory; the real environment
    wins, and nothing is written into it."""
    from dotenv import dotenv_values

    found: dict[str, str] = {}
    for folder in dict.fromkeys((Path.cwd(), base)):
        file = folder / ".env"
        if file.is_file():
            try:
                values = dotenv_values(file)
            except (OSError, UnicodeDecodeError):
                raise ConfigError(
                    f"'{file}' cannot be read as UTF-8 text.",
                    hint="Save it as UTF-8, or remove it.",
                ) from None
            found |= {key: value for key, value in values.items() if value is not None}
    return found
