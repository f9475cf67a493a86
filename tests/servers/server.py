"""The journey of a call through a test server, the same for every wire format.

    key ─▶ parse ─▶ early fault ─▶ limits ─▶ answer ─▶ latency ─▶ late fault or reply

A wire format is a subclass that names routes, parses bodies and writes answers and errors;
what happens to a call, and how it is counted, is decided here.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from . import answers
from .answers import Answer, Call
from .control import control
from .core import JSON, SSE, Connection, Exchange
from .delivery import deliver
from .faults import CONTENT, EARLY, HTML, Fault, spoil
from .knobs import Knobs
from .limits import NEVER, Limits, Refusal
from .stats import Logged, Stats
from .trip import NO_CALL, Rejected, Route, Trip

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


@dataclass(kw_only=True, eq=False)
class Server(Knobs):
    """A server of one wire format; see `Knobs` for what can be set."""

    stats: Stats = field(default_factory=Stats, init=False)
    url: str = field(default="", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rng = random.Random(self.seed)
        self.routes: dict[tuple[str, bytes], Route] = {}
        self.made = itertools.count(1)
        self.created = int(time.time())
        self.open: set[Connection] = set()

    @property
    def base_url(self) -> str:
        """What a client of this format wants to be given."""
        return self.url + self.base_path()

    # -- what a wire format gives -----------------------------------------------------

    def base_path(self) -> str:
        return ""

    def find_route(self, method: str, path: str, query: dict[str, str]) -> Route | None:
        raise NotImplementedError

    def key_of(self, exchange: Exchange, route: Route) -> str | None:
        raise NotImplementedError

    def parse(self, route: Route, exchange: Exchange, body: dict[str, Any]) -> Call:
        raise NotImplementedError

    def whole(self, call: Call, answer: Answer) -> bytes:
        raise NotImplementedError

    def embedded(self, call: Call, route: Route) -> bytes:
        raise NotImplementedError

    def events(self, call: Call, answer: Answer) -> list[bytes]:
        raise NotImplementedError

    def error_event(self, call: Call) -> bytes:
        raise NotImplementedError

    def problem(self, kind: str, call: Call, *, wait: float = 1.0, **more: Any) -> Rejected:
        """The provider's own error for a fault's kind, or for "bad_json", "no_route", …"""
        raise NotImplementedError

    def limited(self, refusal: Refusal, call: Call) -> Rejected:
        raise NotImplementedError

    def rate_headers(self, limits: Limits) -> bytes:
        return b""

    def request_headers(self) -> bytes:
        return b""

    def broken_event(self, call: Call) -> bytes:
        return b'data: {"id": "brok\r\n\r\n' if call.sse else b'{"brok'

    def stream_type(self, route: Route) -> bytes:
        return SSE

    def listing(self, route: Route, exchange: Exchange) -> Any:
        """The body for a route that is no model call."""
        raise NotImplementedError

    # -- the journey --------------------------------------------------------------------

    def handle(self, exchange: Exchange) -> None:
        known = (exchange.method, exchange.raw)
        route = self.routes.get(known)
        if route is None:
            path = exchange.path
            if path.startswith("/__"):
                control(self, exchange, path)
                return
            found = self.find_route(exchange.method, path, exchange.query)
            if found is None:
                self.stats.other += 1
                self.turn_away(exchange, self.problem("no_route", Call({}, path)))
                return
            if len(self.routes) > 1000:
                self.routes.clear()
            route = self.routes[known] = found
        if route.kind in ("chat", "embed"):
            self.model_call(exchange, route)
            return
        self.stats.other += 1
        if self.keep_requests:
            self.log(exchange, decode(exchange.body) if exchange.body else None)
        try:
            self.check_key(exchange, route)
            body = encode(self.listing(route, exchange))
        except Rejected as error:
            self.turn_away(exchange, error)
        else:
            exchange.reply(200, body, JSON, self.request_headers())

    def model_call(self, exchange: Exchange, route: Route) -> None:
        stats = self.stats
        stats.arrive()
        number = stats.received
        trip = Trip(self, exchange, route)
        exchange.on_done = trip.done
        try:
            key = self.check_key(exchange, route)
            trip.call = call = self.read(exchange, route)
            stats.by_prompt[call.key] += 1
            self.check_call(call)
        except Rejected as error:
            self.end(trip, "rejected", error)
            return
        if self.rules.rules:
            subject = call.users[0] if call.users and self.source == "first" else call.last
            fault = trip.fault = self.rules.pick(number, subject, call.key, call.model)
            if fault is not None:
                stats.faults[fault.kind] += 1
                if fault.kind in EARLY:
                    self.early(trip, fault)
                    return
        refusal = self.admit(trip, key)
        if refusal is not None:
            stats.refuse(refusal.by)
            trip.settle("refused")
            self.turn_away(exchange, self.limited(refusal, call), trip)
            return
        stats.accept()
        stats.active += 1
        trip.active = True
        if trip.fault is not None and self.late(trip, trip.fault):
            return
        if trip.answer is None and call.inputs is None:
            trip.answer = self.answer(trip)
        delay = self.latency if isinstance(self.latency, (int, float)) else None
        if delay is None:
            delay = self.rng.uniform(*self.latency)  # type: ignore[misc]
        if trip.fault is not None and trip.fault.kind == "slow":
            delay += trip.fault.delay
        exchange.later(delay, deliver, trip)

    def check_key(self, exchange: Exchange, route: Route) -> str | None:
        key = self.key_of(exchange, route)
        if self.keys is not None and key not in self.keys:
            raise self.problem("unauthorized", Call({}, route.model), key=key, form=route.form)
        return key

    def read(self, exchange: Exchange, route: Route) -> Call:
        """The body as a call, its prompt counted."""
        if len(exchange.body) > self.max_body:
            raise self.problem("too_large", NO_CALL)
        try:
            body = decode(exchange.body)
        except msgspec.DecodeError as error:
            raise self.problem("bad_json", NO_CALL, detail=str(error)) from None
        if not isinstance(body, dict):
            raise self.problem("bad_json", NO_CALL, detail="not an object")
        if self.keep_requests:
            self.log(exchange, body)
        call = self.parse(route, exchange, body)
        call.key = "\n".join(call.inputs) if call.inputs is not None else call.conversation
        count = self.tokens
        if call.inputs is not None:
            call.input_tokens = sum(map(count, call.inputs))
        else:
            used = count("".join(call.users) + call.system + call.other)
            if self.count_schema:
                if call.schema is not None:
                    used += call.schema.size(count)
                for name, schema in call.tools:
                    used += count(name) + schema.size(count)
            call.input_tokens = used
        if self.cached and not call.cached_tokens:
            call.cached_tokens = int(call.input_tokens * self.cached)
        return call

    def check_call(self, call: Call) -> None:
        if self.models is not None and call.model not in self.models:
            raise self.problem("not_found", call)
        window = self.context_window
        if window is not None and call.input_tokens + (call.max_tokens or 0) > window:
            raise self.problem("context", call)

    def admit(self, trip: Trip, key: str | None) -> Refusal | None:
        if self.concurrency is not None and self.stats.active >= self.concurrency:
            return Refusal("concurrency", 1.0, self.concurrency, self.stats.active, 1)
        group = "" if self.scope == "server" else trip.call.model
        group = (key or "") if self.scope == "key" else group
        limits = trip.limits = self.limits_of(group)
        if not limits.gauges:
            return None
        output = 0
        if trip.call.inputs is None and not limits.gauges.keys() <= {"requests"}:
            if self.tpm_counts == "reserved" and trip.call.max_tokens is not None:
                output = trip.call.max_tokens
            else:
                trip.answer = self.answer(trip)
                output = trip.answer.completion_tokens
        # Neither Anthropic nor Google counts a prompt read from the cache.
        return limits.admit(trip.call.input_tokens - trip.call.cached_tokens, output)

    def answer(self, trip: Trip) -> Answer:
        call = trip.call
        kind = trip.fault.kind if trip.fault is not None else ""
        if self.respond is not None:
            said = self.respond(call.last, call.body)
            if isinstance(said, dict):
                said = Answer(encode(said).decode())
            # A copy: the hook may hand out the same one again, and it will be cut and counted.
            answer = replace(said) if isinstance(said, Answer) else Answer(said)
        elif self.fixed is not None:
            answer = Answer(self.fixed)
        else:
            answer = answers.default_answer(call, self.quotes, self.source_of, self.fenced)
        answer.reasoning_tokens = answer.reasoning_tokens or self.reasoning
        if kind in CONTENT:
            spoil(answer, kind)
        return answers.shaped(answer, call, self.tokens)

    def source_of(self, call: Call) -> str:
        """The text that a schema's strings are picked from."""
        user = call.users[0] if call.users and self.source == "first" else call.last
        return answers.source_text(user, self.source_between)

    def charge(self, call: Call, answer: Answer | None) -> None:
        stats, price = self.stats, self.price
        output = answer.completion_tokens if answer is not None else 0
        stats.charged += 1
        stats.models[call.model] += 1
        stats.prompt_tokens += call.input_tokens
        stats.completion_tokens += output
        stats.cached_tokens += call.cached_tokens
        if price:
            stats.dollars += self.cost(call, output)

    def cost(self, call: Call, output: int) -> float:
        price = self.price
        each = price.get("input", 0.0)
        fresh = call.input_tokens - call.cached_tokens - call.cache_written
        return (
            fresh * each
            + call.cached_tokens * price.get("cached_input", each)
            + call.cache_written * price.get("cache_write", each)
            + output * price.get("output", 0.0)
        ) / 1e6

    # -- ends that are no answer --------------------------------------------------------

    def early(self, trip: Trip, fault: Fault) -> None:
        kind = fault.kind
        if kind in ("reset", "rst"):
            trip.settle("failed")
            trip.exchange.drop(reset=kind == "rst")
        elif kind == "html":
            trip.settle("failed")
            self.stats.statuses[502] += 1
            trip.exchange.reply(502, HTML, b"text/html")
        else:
            wait = NEVER if kind == "429_no_retry_after" else fault.retry_after
            kind = "429" if kind == "429_no_retry_after" else kind
            self.end(trip, "failed", self.problem(kind, trip.call, wait=wait, form=trip.route.form))

    def late(self, trip: Trip, fault: Fault) -> bool:
        """Faults of a call that was let in; true where there is nothing more to do."""
        if fault.kind == "hang":
            return True
        if fault.kind == "500" or (fault.kind == "stream_error" and not trip.call.stream):
            self.end(trip, "failed", self.problem(fault.kind, trip.call))
            return True
        return False

    def end(self, trip: Trip, outcome: str, error: Rejected) -> None:
        trip.settle(outcome)
        self.turn_away(trip.exchange, error, trip)

    def turn_away(self, exchange: Exchange, error: Rejected, trip: Trip | None = None) -> None:
        headers = self.request_headers() + error.headers
        if trip is not None:
            self.stats.statuses[error.status] += 1
            if self.headers and trip.limits is not None and trip.limits.gauges:
                headers += self.rate_headers(trip.limits)
        exchange.reply(error.status, encode(error.body), JSON, headers)

    # -- what the connections and the outside call ----------------------------------------

    def opened(self, connection: Connection) -> None:
        stats = self.stats
        self.open.add(connection)
        stats.connections += 1
        stats.connections_open += 1
        stats.connections_open_peak = max(stats.connections_open_peak, stats.connections_open)

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)
        self.stats.connections_open -= 1

    def bug(self, text: str) -> None:
        self.stats.bugs.append(text)

    def log(self, exchange: Exchange, body: Any) -> None:
        self.stats.requests.append(
            Logged(exchange.method, exchange.path, exchange.header_dict(), body)
        )

    def reset(self) -> None:
        """Counters to nought, buckets full, faults from the start."""
        self.stats.clear()
        self.rng = random.Random(self.seed)
        self.rpm = self.rpm  # any of these assignments empties what it stands for
        self.faults = self.faults

    async def listen(self, host: str, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: Connection(self, loop), host, port, backlog=4096
        )
        port = listener.sockets[0].getsockname()[1]
        self.url = f"http://{host}:{port}"
        return listener

    def hang_up(self) -> None:
        """Close all connections, whatever they were waiting for."""
        for connection in list(self.open):
            connection.transport.abort()

    def request_id(self, prefix: str) -> str:
        return f"{prefix}{self.created:x}{next(self.made):08x}"
