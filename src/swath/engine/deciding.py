"""Which model a routed name means for a prompt: a router's predictions, and the config's aliases.

A decision depends on the name, the prompt (the last message of the user's), the router's file and
the config alone, never on what happened before: the same request goes to the same model in every
run, so that the store, and a run that goes on after a kill, hold per real model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from swath.catalog.model import Model
from swath.catalog.models import Models
from swath.catalog.routed import Route, blended
from swath.config import RouterConfig
from swath.engine.call import Routed
from swath.engine.ladder import Ladder
from swath.engine.naming import Naming
from swath.errors import ConfigError, MissingExtra, UnknownModel
from swath.messages import Request

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from swath.routing.router import Learned

Vectors = Mapping[str, Sequence[float]]
"""Embeddings by gist."""

SLACK = 1e-9  # a score must not depend on which others were computed with it
UP = 0.5  # of a cascade's weak answers are taken to be unsure, before anything is known
KNOWN = 65_536  # decisions remembered, so that a frame's rows are decided once


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is asked; `others` step in, in order. `why` is "score", "quality", "price", "weak" (a
    cascade's first) or "value" (a learned cascade's), or "explore" where a model was drawn instead.
    `strong` is what a caller without a router would ask. `trust` is the probability from which on a
    cascade's weak answer stands, `climbs` says that a verifier judges it; `samples` of it are had.
    `score` and `quality` (by alias) are the router's."""

    name: str
    model: str
    strong: str
    others: tuple[str, ...] = ()
    why: str = "score"
    score: float | None = None
    quality: Mapping[str, float] = {}
    trust: float | None = None
    climbs: bool = False
    samples: int = 1

    def routed(self, why: str = "") -> Routed:
        """Its part of a ledger's row."""
        return Routed(name=self.name, why=why or self.why, scores=self.scores, strong=self.strong)

    @property
    def first(self) -> bool:
        """Whether the answer of `model` is only a first one, to be judged."""
        return self.trust is not None or self.climbs

    @property
    def scores(self) -> str:
        """What the router said, as JSON."""
        said = self.said
        return msgspec.json.encode(said).decode() if said else ""

    @property
    def said(self) -> dict[str, Any]:
        """The score, and the quality by alias."""
        head = {} if self.score is None else {"score": self.score}
        return {name: round(value, 5) for name, value in {**head, **self.quality}.items()}


class Plan:
    """One routed name, made out: the router's part and the aliases'. `vectors` says whether a
    prompt has to be embedded before."""

    def __init__(self, route: Route, config: RouterConfig, base: Path, models: Models) -> None:
        self.route = route
        self._config = config
        self._models = models
        self.router = None if _weak_first(route) else _load(route, config, base)
        self._here: Vectors = {}
        if self.router is not None and self.router.asks_encoder:
            self.router._encode = self._encode
        named = Naming(self.router, config, models)
        columns, pair = named.columns, named.pair
        if route.quality is not None or route.max_price is not None or route.learned:
            if len(columns) < 2:
                raise ConfigError(
                    f"'{route.name}' chooses between models that the router predicts, and of "
                    f"{_listed(named.names)} the config has {len(columns)}.",
                    hint="Under [router], give them aliases: models = { NAME = 'alias' }, or weak "
                    "and strong.",
                )
            self.aliases = tuple(columns.values())
        elif pair is None:
            raise ConfigError(
                f"'{route.name}' does not know which models to choose between.",
                hint="Name them in swath.toml: [router], weak = 'alias', strong = 'alias'.",
            )
        else:
            self.aliases = pair
        self._places = list(columns)
        self._names_of = tuple(columns.values())
        self._prices = {alias: blended(models[alias]) for alias in self.aliases}
        self._pool = self._affordable()
        self.strong = pair[1] if pair else max(self.aliases, key=lambda a: self._prices[a] or 0.0)
        self.threshold = self._threshold()
        self.trust = route.cascade
        self.ladder = self._ladder(pair) if route.learned else None
        self.notes = self.router.notes if self.router is not None and route.learned else ()

    @property
    def vectors(self) -> bool:
        return self.router is not None and self.router.asks_encoder

    @property
    def at_once(self) -> bool:
        """Whether a decision takes no question: neither an embedding nor a first answer, nor a
        language model that reads the prompt."""
        return not (self.vectors or self.slow) and self.trust is None and self.ladder is None

    @property
    def slow(self) -> bool:
        """Whether deciding takes seconds, so that it must not hold up the event loop."""
        return self.router is not None and self.router.slow

    def asked(self, decision: Decision) -> dict[str, float]:
        """The models that a question goes to, as far as can be told before, and the share of
        questions that each gets: of a cascade all that may be asked."""
        if self.ladder is not None and decision.climbs:
            return {decision.model: 1.0} | {
                alias: share
                for alias, share in self.ladder.shares.items()
                if alias != decision.model
            }
        if decision.trust is not None:
            return {decision.model: 1.0, self.strong: UP}
        return {decision.model: 1.0}

    def decide(self, prompts: Sequence[str], vectors: Vectors | None = None) -> list[Decision]:
        """One decision a prompt. `vectors` has the gist of each where the router needs them."""
        if self.router is None:
            return [self._weak() for _ in prompts]
        self._here = vectors or {}
        try:
            texts = self.router.texts(prompts)
            scores = self.router.wants(texts)
            quality = self.router.quality(texts)[:, self._places] if self._places else None
        except ValueError:  # of numpy: shapes that do not go together
            raise ConfigError(
                f"The router that '{self.route.name}' uses was trained on other embeddings than "
                f"'{self.router.embedding}' gives.",
                hint="Train it anew with --embedding naming that model.",
            ) from None
        finally:
            self._here = {}
        made = []
        for i, prompt in enumerate(prompts):
            row = [] if quality is None else quality[i].tolist()
            told = dict(zip(self._names_of, row, strict=True))
            made.append(self._explored(self._one(float(scores[i]), told), prompt))
        return made

    # -- one prompt

    def _one(self, score: float, quality: Mapping[str, float]) -> Decision:
        name, rule = self.route.name, "score"
        if self.ladder is not None:
            model, rule = self.ladder.first(quality), "value"
        elif self.trust is not None and self.route.learned:
            model = self.aliases[0]
        elif self.route.quality is not None:
            best, rule = max(quality.values()), "quality"
            enough = [a for a in self.aliases if quality[a] >= self.route.quality * best - SLACK]
            model = min(enough, key=self._dollars)
        elif self.route.max_price is not None:
            rule = "price"
            model = max(self._pool, key=lambda a: (quality[a], -self._dollars(a)))
        else:
            model = self.aliases[score >= self.threshold - SLACK]
        others = sorted((a for a in self.aliases if a != model), key=lambda a: -quality.get(a, 0))
        weak = self.trust is not None and model == self.aliases[0]
        climbs = self.ladder is not None and self.ladder.judged(model)
        return Decision(
            name=name,
            model=model,
            strong=self.strong,
            others=tuple(others),
            why="weak" if weak else rule,
            score=score,
            quality=quality,
            trust=self.trust if weak else None,
            climbs=climbs,
            samples=self.route.samples if weak or climbs else 1,
        )

    def _weak(self) -> Decision:
        weak, strong = self.aliases
        return Decision(
            name=self.route.name,
            model=weak,
            strong=strong,
            others=(strong,),
            why="weak",
            trust=self.trust,
            samples=self.route.samples,
        )

    def _explored(self, decision: Decision, prompt: str) -> Decision:
        """Another model, for the share of prompts that the config wants explored."""
        drawn, share = uniform(prompt, "explore"), self._config.explore
        if drawn >= share or not decision.others:
            return decision
        other = decision.others[int(drawn / share * len(decision.others))]
        rest = (decision.model, *(a for a in decision.others if a != other))
        return msgspec.structs.replace(
            decision, model=other, others=rest, why="explore", trust=None, climbs=False, samples=1
        )

    # -- the config's part

    def _dollars(self, alias: str) -> float:
        price = self._prices[alias]
        return float("inf") if price is None else price

    def _ladder(self, pair: tuple[str, str] | None) -> Ladder | None:
        """None where no verifier was learned: then sureness decides."""
        from swath.routing.cascade import TRUST, Cascade

        if not isinstance(self.router, Cascade):
            assert self.router is not None
            raise ConfigError(
                f"'{self.route.name}' needs a router of kind 'cascade'; '{self._config.artifact}' "
                f"is one of kind '{self.router.kind}'.",
                hint="Train one: swath router train --kind cascade --out my.router, and name it "
                "under [router] as artifact; or give the sureness to go by: auto:cascade=0.8.",
            )
        if not self.router.judges[self._places].any():
            if pair is None:
                raise ConfigError(
                    f"'{self.route.name}' has no verifier, and does not know which model is weak.",
                    hint="Name them in swath.toml: [router], weak = 'alias', strong = 'alias'.",
                )
            self.aliases, self.trust = pair, TRUST
            return None
        route = self.route
        return Ladder(
            route.name,
            self.router,
            self._places,
            self.aliases,
            self._prices,
            route.quality,
            route.max_price,
        )

    def _affordable(self) -> tuple[str, ...]:
        most = self.route.max_price
        if most is None or self.route.learned:  # where it is a mean over prompts, not a limit
            return self.aliases
        found = tuple(a for a in self.aliases if self._dollars(a) <= most)
        if not found:
            told = {a: p for a, p in self._prices.items() if p is not None}
            shown = ", ".join(f"'{alias}' ${price:.4g}" for alias, price in told.items())
            raise ConfigError(
                f"No model costs at most ${most:g} per million tokens.",
                hint=f"There are: {shown or 'none with a known price'}.",
            )
        return found

    def _threshold(self) -> float:
        route, router = self.route, self.router
        if router is None or route.quality is not None or route.max_price is not None:
            return 0.0
        if route.threshold is not None:
            return route.threshold
        calibration = router.calibration
        if route.share is None and calibration is not None:
            return calibration.threshold
        share = self._config.share if route.share is None else route.share
        if share in (0.0, 1.0):
            return float("inf") if share == 0.0 else float("-inf")
        marks = calibration.quantiles if calibration is not None else router.quantiles
        if not marks:
            raise ConfigError(
                f"The router that '{route.name}' uses does not say how its scores are spread.",
                hint="Train it anew, or give a threshold: auto:threshold=0.5.",
            )
        import numpy as np

        return float(np.interp(1 - share, np.linspace(0, 1, len(marks)), marks))

    def _encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float64]:
        import numpy as np

        from swath.routing.vectors import gist

        return np.array([self._here[gist(prompt)] for prompt in prompts], np.float64)


class Plans:
    """The plans of a session's routed names, and the decisions made by them."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._plans: dict[str, Plan] = {}
        self._made: dict[tuple[str, bytes], Decision] = {}

    def of(self, name: str) -> Plan:
        """Raises ConfigError, ArtifactError."""
        plan = self._plans.get(name)
        if plan is None:
            assert isinstance(self._models, Models)  # only those give models that are routed
            route = self._models.route(name)
            assert route is not None
            plan = Plan(route, self._models.router, self._models.base, self._models)
            self._plans[name] = plan
        return plan

    def known(self, request: Request) -> Decision | None:
        return self._made.get(_key(request))

    def decide(self, requests: Sequence[Request], vectors: Vectors | None = None) -> list[Decision]:
        """One a request, all of them for one name; those not decided before together."""
        keys = [_key(request) for request in requests]
        new = {
            key: prompt_of(request)
            for key, request in zip(keys, requests, strict=True)
            if key not in self._made
        }
        if len(self._made) + len(new) > KNOWN:
            held = [self._made.get(key) for key in keys]
            self._made = {k: d for k, d in zip(keys, held, strict=True) if d is not None}
        if new:
            made = self.of(requests[0].model).decide(list(new.values()), vectors)
            self._made.update(zip(new, made, strict=True))
        return [self._made[key] for key in keys]


def prompt_of(request: Request) -> str:
    """What the router reads: the last message of the user's."""
    said = [m.content for m in request.messages if m.role == "user"]
    return said[-1] if said else ""


def uniform(prompt: str, salt: str) -> float:
    """A number in [0, 1) that depends on the prompt and the salt only."""
    digest = blake2b(prompt.encode(errors="replace"), digest_size=7, salt=salt.encode()).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


def _key(request: Request) -> tuple[str, bytes]:
    prompt = prompt_of(request).encode(errors="replace")
    return request.model, blake2b(prompt, digest_size=16).digest()


def _weak_first(route: Route) -> bool:
    """A cascade alone needs no router."""
    return route.cascade is not None and not route.ruled


def _load(route: Route, config: RouterConfig, base: Path) -> Learned:
    try:
        from swath.routing.training import DEFAULT, load
    except ModuleNotFoundError:
        raise MissingExtra(f"The model name '{route.name}'", "routing") from None
    if route.kind == "random":
        import numpy as np

        from swath.routing.random import Random

        even = np.zeros(2)
        return Random(models=("weak", "strong"), level=even, slope=even)
    name = config.artifact
    router = load(DEFAULT if name == DEFAULT else base / Path(name).expanduser())
    if route.kind and router.kind != route.kind:
        raise UnknownModel(
            f"'{route.name}' asks for a router of kind '{route.kind}'; '{name}' is one of kind "
            f"'{router.kind}', whose scores are on another scale.",
            hint=f"Train one: swath router train --kind {route.kind} --out my.router, and name it "
            "under [router] as artifact; or ask for auto:share=0.5.",
        )
    return router


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
