"""`AutoRouted`: an operator whose rows are asked of one model each, as a router decides that was
learned from a sample of them."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from collections.abc import Hashable, Sequence
from contextlib import suppress
from copy import copy
from typing import Any

import polars as pl
from msgspec.structs import replace

from swath.engine.shape import Invalid
from swath.errors import InputError, MissingExtra, ProviderError
from swath.messages import Completion, Message, Request
from swath.operators.asking import Ask, Failed, Sizes
from swath.operators.auto import UNSURE, Auto, Sent
from swath.operators.base import ModelChoice, Operator
from swath.operators.cascading import Key, stand_in
from swath.operators.wrapping import Wrapping

Reply = Completion | Failed | None


def chosen(operator: Operator) -> Operator:
    """`operator` itself, or where its model is an `sw.auto` what carries that out."""
    return operator if operator.auto is None else AutoRouted(operator, operator.auto)


class AutoRouted(Wrapping):
    """What the rows get is the same column; where routing cannot help, `prepare` gives the plain
    operator for the large model."""

    kind = "auto"
    single = False

    def __init__(self, operator: Operator, auto: Auto) -> None:
        self.operator = operator.with_model(auto.large)
        super().__init__(
            operator.text,
            model=(auto.large, *auto.models[:-1]),  # all, so that a plan names and checks them
            temperature=operator.temperature,
            max_tokens=operator.max_tokens,
            shots=operator.shots,
            long="refuse",
        )
        self.chosen_by = auto
        self.instructions = getattr(operator, "instructions", None)
        probe = self.operator.ask("", "")
        if auto.judge is None and not probe.choices and probe.schema is None:
            raise InputError(
                f"{operator.describe()} writes free text, which cannot be compared as it stands.",
                hint="Give sw.auto a judge= (an alias, or a function of a text and an answer).",
            )
        self.sample = sum(auto.parts())
        self.assumed = (auto.assumed,)
        self._sent: Sent | None = None
        self._known: dict[Key, Completion | Failed] = {}

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.operator.signature, self.chosen_by)

    # -- learning

    async def prepare(self, ask: Ask, sample: pl.DataFrame, rows: int) -> Operator:
        auto = self.chosen_by
        pool = self.requests(sample, ask.default)
        random.Random(auto.seed).shuffle(pool)
        try:
            from swath.operators import auto_learning  # noqa: F401  numpy, and what learns with it
        except ModuleNotFoundError:
            raise MissingExtra("sw.auto", "routing") from None
        learned, checked = auto.parts(rows)
        sents = [
            Sent(small, auto.large, auto.measure, auto.quality, auto.confidence, rows)
            for small in auto.models[:-1]
        ]
        if not learned:
            sents[0].why = f"{rows:,} rows are too few to learn from"
            return self._settled(ask, sents[0], {})
        asked = pool[: learned + checked]
        answers = await asyncio.gather(
            *(ask.many([_to(r, alias) for r in asked], self.check) for alias in auto.models),
            return_exceptions=True,
        )
        for outcome in answers:  # only now: what is under way at the other models is paid for
            if isinstance(outcome, BaseException):
                raise outcome
        by_model: list[list[Reply]] = [a for a in answers if not isinstance(a, BaseException)]
        large = by_model[-1]
        known = {
            r.messages: reply
            for r, reply in zip(asked, large, strict=True)
            if r is not None and reply is not None
        }
        vectors = await self._vectors(ask, asked)
        for sent, small in zip(sents, by_model[:-1], strict=True):
            sent.spent(*_once(small), *_once(large))
            await self._learn(ask, sent, asked, small, large, learned, vectors)
        best = max(sents, key=lambda sent: self._gain(ask, sent))
        for other in sents:
            if other is not best:
                best.small_usd += other.small_usd
                best.judge_usd += other.judge_usd
        return self._settled(ask, best, known)

    async def _learn(
        self,
        ask: Ask,
        sent: Sent,
        asked: Sequence[Request | None],
        small: Sequence[Reply],
        large: Sequence[Reply],
        learned: int,
        vectors: dict[str, Any],
    ) -> None:
        """Fills in `sent`."""
        from swath.operators.auto_learning import known_vectors, promised, router_of, tells
        from swath.routing.router import Texts

        auto = self.chosen_by
        graded = await self._outcomes(ask, sent, asked, small, large)
        places = [i for i, pair in enumerate(graded) if pair is not None]
        first = [i for i in places if i < learned]
        rest = [i for i in places if i >= learned]
        sent.learned, sent.checked = learned, len(rest)
        if len(first) < FEWEST_GRADED or len(rest) < FEWEST_GRADED:
            sent.why = f"only {len(places):,} rows of the sample have an answer to compare with"
            return
        import numpy as np

        def arrays(rows: list[int]) -> Any:
            pairs = np.array([graded[i] for i in rows], np.float64)
            return [self._text(asked[i]) for i in rows], pairs[:, 0], pairs[:, 1]

        texts, low, high = arrays(first)
        names = (sent.small, sent.large)
        read = Texts(texts, known_vectors(vectors))
        router, sent.ranking = await asyncio.to_thread(
            router_of, read, low, high, names, auto.embedding, auto.seed
        )
        seen = high
        texts, low, high = arrays(rest)
        # Rows without an answer of the large model may be any: they count as rows of the table.
        scores = router.score(texts)
        sent.share = promised(sent, router, scores, low, high, auto.risk, seen)
        if 0 < sent.share < 1 and not tells(scores, high - low):
            # What the promise leaves room for could be spent on rows drawn by lot: that is no help.
            sent.why = (
                f"on {sent.checked:,} rows the router told no better than chance where "
                f"'{sent.small}' is good enough ({_good(low, high):.0%} of them)"
            )
        elif sent.share == 0:
            sent.why = (
                f"{sent.checked:,} rows do not show that any could go to '{sent.small}', which "
                f"was good enough on {_good(low, high):.0%} of them"
            )
        elif sent.share <= self._price_ratio(ask, sent):
            sent.why = f"'{sent.small}' costs more than it would save"
        if sent.why:
            sent.threshold = None
        else:
            sent.router = router

    def _settled(self, ask: Ask, sent: Sent, known: dict[Key, Completion | Failed]) -> Operator:
        self.chosen_by.promises.append(sent)
        ask.note(str(sent))
        if sent.threshold is None:
            return self.operator
        other = copy(self)
        other.sample, other._sent, other._known = 0, sent, known
        return other

    async def _vectors(self, ask: Ask, asked: Sequence[Request | None]) -> dict[str, Any]:
        from swath.routing.vectors import gist

        texts = list(dict.fromkeys(self._text(r) for r in asked if r is not None))
        made = await ask.embed([gist(text) for text in texts], self.chosen_by.embedding)
        return dict(zip(texts, made, strict=True))

    async def _outcomes(
        self,
        ask: Ask,
        sent: Sent,
        asked: Sequence[Request | None],
        small: Sequence[Reply],
        large: Sequence[Reply],
    ) -> list[tuple[float, float] | None]:
        """How good both answers of each row are; None where the large model has none. A row that
        the small one fails on falls to the large one, and is no loss."""
        judge = self.chosen_by.judge
        pairs = list(zip(asked, small, large, strict=True))
        if judge is None:
            return [self._agreement(s, b) for _, s, b in pairs]
        told = [(r, self._said(s), self._said(b)) for r, s, b in pairs]
        if callable(judge):
            return [await self._graded(r, s, b) for r, s, b in told]
        return await self._judged(ask, sent, judge, told)

    def _agreement(self, small: Reply, large: Reply) -> tuple[float, float] | None:
        truth, says = self._cell(large), self._cell(small)
        if truth is None:
            return None
        return (1.0 if says is None or says == truth else 0.0), 1.0

    async def _graded(
        self, request: Request | None, small: str | None, large: str | None
    ) -> tuple[float, float] | None:
        judge = self.chosen_by.judge
        if request is None or large is None:
            return None
        assert callable(judge)
        grades = []
        for answer in (large if small is None else small, large):
            grade = judge(self._text(request), answer)
            value = float(await grade if inspect.isawaitable(grade) else grade)
            if not 0 <= value <= 1:
                raise InputError(f"judge= gave the grade {value}.", hint="Grades are from 0 to 1.")
            grades.append(value)
        return grades[0], grades[1]

    async def _judged(
        self,
        ask: Ask,
        sent: Sent,
        judge: str,
        told: Sequence[tuple[Request | None, str | None, str | None]],
    ) -> list[tuple[float, float] | None]:
        """By the judge in both orders; what only one of them says is a tie."""
        from swath.evals import judge_prompts as prompts

        system = Message("system", prompts.pairwise({}, None, ties=True, reason=False))
        questions: list[Request | None] = []
        for request, small, large in told:
            open_ = request is not None and None not in (small, large) and small != large
            task = self._task(request) if open_ else ""
            for one, two in ((small, large), (large, small)):
                parts = {"task": task, "answer_1": one, "answer_2": two}
                user = Message("user", prompts.blocks(parts)) if open_ else None
                questions.append(
                    None
                    if user is None
                    else Request(
                        model=judge,
                        messages=(system, user),
                        choices=prompts.choices(True),
                        temperature=0.0,
                    )
                )
        replies = await ask.many(questions)
        sent.judge_usd += sum(r.cost_usd for r in _once(replies) if isinstance(r, Completion))
        made: list[tuple[float, float] | None] = []
        for place, (_, small, large) in enumerate(told):
            first, second = replies[2 * place : 2 * place + 2]
            if large is None:
                made.append(None)
            elif small is None or small == large:
                made.append((1.0, 1.0))
            elif isinstance(first, Completion) and isinstance(second, Completion):
                worse = first.text == prompts.SECOND and second.text == prompts.FIRST
                made.append((0.0 if worse else 1.0, 1.0))
            else:
                made.append((0.0, 1.0))  # nothing speaks for it
        return made

    # -- rows

    async def answer(self, ask: Ask, request: Request) -> Any:
        sent = self._sent
        if sent is None or sent.threshold is None:  # never prepared: the large one answers
            return await self.operator.answer(ask, request)
        sampled = self._known.get(request.messages)
        if sampled is not None and (isinstance(sampled, Completion) or self.operator.single):
            self._count(ask, sent, by_small=False)
            if isinstance(sampled, Completion):
                return self.value(sampled)
            raise sampled.again() if isinstance(sampled, ProviderError) else sampled
        if await self._score(ask, sent, request) < sent.threshold:
            small: Completion | None = None
            with suppress(ProviderError, Invalid):
                small = await ask(_to(request, sent.small), self.check)
            sent.spent(small)
            if small is not None and not stand_in(small):
                value = self.value(small)
                self._count(ask, sent, by_small=True)
                return value
        self._count(ask, sent, by_small=False)
        if not self.operator.single:  # a long text
            return await self.operator.answer(ask, request)
        large = await ask(request, self.check)
        sent.spent(large)
        return self.value(large)

    async def _score(self, ask: Ask, sent: Sent, request: Request) -> float:
        from swath.operators.auto_learning import known_vectors
        from swath.routing.router import Texts
        from swath.routing.vectors import gist

        assert sent.router is not None
        text, table = self._text(request), dict[str, Any]()
        if sent.router.embeds:
            table[text] = (await ask.embed([gist(text)], self.chosen_by.embedding))[0]
        return float(sent.router.wants(Texts([text], known_vectors(table)))[0])

    @staticmethod
    def _count(ask: Ask, sent: Sent, by_small: bool) -> None:
        sent.by_small += by_small
        sent.by_large += not by_small
        ask.note(sent.answered_by(sent.small if by_small else sent.large))

    # -- parts

    def _text(self, request: Request | None) -> str:
        assert request is not None
        return self.operator.text_of(request)

    @staticmethod
    def _task(request: Request | None) -> str:
        assert request is not None
        return "\n\n".join(m.content for m in request.messages)

    def _cell(self, reply: Reply) -> Any:
        """What must be equal for two answers to agree; None where there is no answer."""
        if not isinstance(reply, Completion) or stand_in(reply):
            return None
        try:
            value = self.value(reply)
        except Invalid:
            return None
        if isinstance(value, dict) and set(value) == {"label", "score"}:
            value = value["label"]
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            value = sorted(value)
        return json.dumps(value, sort_keys=True, default=str)

    def _said(self, reply: Reply) -> str | None:
        return reply.text if isinstance(reply, Completion) and not stand_in(reply) else None

    def _gain(self, ask: Ask, sent: Sent) -> float:
        return 0.0 if sent.threshold is None else sent.share - self._price_ratio(ask, sent)

    @staticmethod
    def _price_ratio(ask: Ask, sent: Sent) -> float:
        """Of the rows, how many must go to the small model before it pays for itself: none, unless
        it is the dearer one."""
        small, large = ask.model(sent.small).price, ask.model(sent.large).price
        if small is None or large is None or not large.input:
            return 0.0
        return 1.0 if small.input >= large.input else 0.0

    # -- plans

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        small = _to(request, self.chosen_by.models[0])
        assert small is not None
        large = self.operator.questions(request, sizes)
        return [(small, 1 - UNSURE), *((one, count * UNSURE) for one, count in large)]

    def with_model(self, model: ModelChoice) -> Operator:  # type: ignore[override]
        """The plain operator, put to another model."""
        return self.operator.with_model(model)

    def describe(self) -> str:
        return f"{self.operator.describe()} by {self.chosen_by}"

    def model_name(self, default: str = "default") -> str:
        return str(self.chosen_by)


FEWEST_GRADED = 20


def _to(request: Request | None, model: str) -> Any:
    return None if request is None else replace(request, model=model)


def _once(replies: Sequence[Reply]) -> list[Reply]:
    """Equal questions share one answer."""
    return list({id(reply): reply for reply in replies}.values())


def _good(low: Any, high: Any) -> float:
    return float((low >= high).mean())
