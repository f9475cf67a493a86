"""The journey of a call through a test server, the same for every wire format.

    key ─▶ parse ─▶ early fault ─▶ limits ─▶ answer ─▶ latency ─▶ late fault or reply

A wire format is a subclass that names routes, parses bodies and writes answers and errors;
what happens to a call, and how it is counted, is decided here.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import msgspec

from . import answers
from .answers import Answer, Call, Quotes
from .control import control
from .core import JSON, SSE, Connection, Exchange
from .faults import CONTENT, EARLY, HTML, WRONG_FIELDS, Fault, Faults
from .limits import NEVER, Limits, Refusal, Window
from .stats import Logged, Stats

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode

Respond = Callable[[str, dict[str, Any]], "str | dict[str, Any] | Answer"]


class Rejected(Exception):
    """A request turned away, in the provider's words."""

    def __init__(self, status: int, body: Any, headers: bytes = b"") -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers


@dataclass(slots=True)
class Route:
    """What a path means. `kind` "chat" and "embed" are model calls; others list things."""

    kind: str
    model: str = ""
    stream: bool = False
    form: str = ""  # whatever the wire format needs to know besides


@dataclass(slots=True, eq=False)
class Trip:
    """One model call under way."""

    server: Server
    exchange: Exchange
    route: Route
    call: Call = field(default_factory=lambda: Call({}, ""))
    answer: Answer | None = None
    fault: Fault | None = None
    limits: Limits | None = None
    outcome: str = ""
    active: bool = False
    begun: bool = False
    ended: bool = False

    def done(self) -> None:
        stats = self.server.stats
        stats.in_flight -= 1
        if self.active:
            self.server.active -= 1
        if not self.outcome:
            hung = self.fault is not None and self.fault.kind == "hang"
            self.outcome = "failed" if hung else "abandoned"
            setattr(stats, self.outcome, getattr(stats, self.outcome) + 1)
        elif self.begun and not self.ended:
            stats.broken_off += 1


_LIMITING = frozenset(
    "rpm tpm input_tpm output_tpm window window_seconds burst_seconds count_refused scope clock".split()
)


@dataclass(kw_only=True, eq=False)
class Server:
    """The knobs that all wire formats share. Each may be set at any time."""

    # -- time and limits
    latency: float | tuple[float, float] = 0.0  # to the first byte; (low, high) is drawn from
    chunk_delay: float = 0.0  # between the events of a stream
    chunk_chars: int = 12  # of text in each
    fragment: int | None = None  # cut what a stream writes into writes of so many bytes
    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    # Token limits count what a call uses, or else its prompt plus its max_tokens.
    tpm_counts: Literal["actual", "reserved"] = "actual"
    window: Window = "bucket"
    window_seconds: float = 60.0  # a "minute", for tests with less patience
    burst_seconds: float = 1.0  # how much of the limit the bucket holds
    count_refused: bool = False  # refused calls use up the limit too
    scope: Literal["server", "model", "key"] = "server"  # what has a limit of its own
    concurrency: int | None = None
    headers: bool = True  # send rate-limit headers
    retry_after: bool | Literal["ms"] = True
    clock: Callable[[], float] = time.monotonic
    # -- access
    keys: frozenset[str] | None = None  # None takes any key, and none
    models: tuple[str, ...] | None = None  # None takes any name
    context_window: int | None = None
    max_body: int = 32 << 20
    # -- answers
    respond: Respond | None = None
    tokens: Callable[[str], int] = answers.tokens
    quotes: Quotes = "real"
    # Which message a schema's strings are picked from, where the users said several things:
    # the first, so that a repair is still about its text; or the last.
    source: Literal["first", "last"] = "first"
    source_between: tuple[str, str] | None = None
    fenced: bool = False  # wrap JSON in a ```json fence where only the prompt asked for it
    count_schema: bool = True  # a schema and tools count as prompt tokens, as at the providers
    cached: float = 0.0  # share of the prompt reported as read from the cache
    reasoning: int = 0  # reasoning tokens added to each answer
    embedding_size: int = 64
    price: dict[str, float] = field(default_factory=dict)  # dollars a million: input, output, …
    # -- faults
    faults: Iterable[Fault | dict[str, Any]] = ()
    seed: int = 0
    # -- counting
    keep_requests: bool = False

    base: ClassVar[str] = ""  # what an SDK's base_url ends in
    stats: Stats = field(default_factory=Stats, init=False)
    url: str = field(default="", init=False)
    active: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.routes: dict[tuple[str, bytes], Route] = {}
        self.made = 0
        self.created = int(time.time())
        self.open: set[Connection] = set()
        self.closing = False
        self.sizes: dict[bytes, int] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "faults":
            # A tuple: a rule appended behind the server's back would have no memory.
            value = tuple(value)
            object.__setattr__(self, "_faults", Faults(value, getattr(self, "seed", 0)))
        elif name == "keys" and value is not None:
            value = frozenset(value)
        object.__setattr__(self, name, value)
        if name == "seed":
            object.__setattr__(self, "_faults", Faults(getattr(self, "faults", ()), value))
        elif name in _LIMITING:
            object.__setattr__(self, "_limits", {})

    @property
    def base_url(self) -> str:
        """What a client of this format wants to be given."""
        return self.url + self.base

    # -- what a wire format gives -----------------------------------------------------

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
        if self.faults:
            subject = call.users[0] if call.users and self.source == "first" else call.last
            faults: Faults = self._faults  # type: ignore[attr-defined]
            fault = trip.fault = faults.pick(number, subject, call.key, call.model)
            if fault is not None:
                stats.faults[fault.kind] += 1
                if fault.kind in EARLY:
                    self.early(trip, fault)
                    return
        refusal = self.admit(trip, key)
        if refusal is not None:
            stats.refuse(refusal.by)
            trip.outcome = "refused"
            self.turn_away(exchange, self.limited(refusal, call), trip)
            return
        stats.accept()
        self.active += 1
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
        exchange.later(delay, self.deliver, trip)

    def check_key(self, exchange: Exchange, route: Route) -> str | None:
        key = self.key_of(exchange, route)
        if self.keys is not None and key not in self.keys:
            raise self.problem("unauthorized", Call({}, route.model), key=key, form=route.form)
        return key

    def read(self, exchange: Exchange, route: Route) -> Call:
        """The body as a call, its prompt counted."""
        if len(exchange.body) > self.max_body:
            raise self.problem("too_large", Call({}, ""))
        try:
            body = decode(exchange.body)
        except msgspec.DecodeError as error:
            raise self.problem("bad_json", Call({}, ""), detail=str(error)) from None
        if not isinstance(body, dict):
            raise self.problem("bad_json", Call({}, ""), detail="not an object")
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
                    used += self.size_of(call.schema)
                for name, schema in call.tools:
                    used += count(name) + self.size_of(schema)
            call.input_tokens = used
        if self.cached and not call.cached_tokens:
            call.cached_tokens = int(call.input_tokens * self.cached)
        return call

    def size_of(self, schema: Any) -> int:
        data = encode(schema)
        size = self.sizes.get(data)
        if size is None:
            size = self.sizes[data] = self.tokens(data.decode())
        return size

    def check_call(self, call: Call) -> None:
        if self.models is not None and call.model not in self.models:
            raise self.problem("not_found", call)
        window = self.context_window
        if window is not None and call.input_tokens + (call.max_tokens or 0) > window:
            raise self.problem("context", call)

    def admit(self, trip: Trip, key: str | None) -> Refusal | None:
        if self.concurrency is not None and self.active >= self.concurrency:
            return Refusal("concurrency", 1.0, self.concurrency, self.active, 1)
        group = "" if self.scope == "server" else trip.call.model
        group = (key or "") if self.scope == "key" else group
        many: dict[str, Limits] = self._limits  # type: ignore[attr-defined]
        limits = trip.limits = many.get(group)
        if limits is None:
            limits = trip.limits = many[group] = Limits(
                rpm=self.rpm,
                tpm=self.tpm,
                input_tpm=self.input_tpm,
                output_tpm=self.output_tpm,
                window=self.window,
                window_seconds=self.window_seconds,
                burst_seconds=self.burst_seconds,
                count_refused=self.count_refused,
                clock=self.clock,
            )
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
            answer = said if isinstance(said, Answer) else Answer(said)
        else:
            user = call.users[0] if call.users and self.source == "first" else call.last
            source = answers.source_text(user, self.source_between)
            answer = answers.default_answer(
                call, quotes=self.quotes, source=source, fenced=self.fenced
            )
        answer.reasoning_tokens = answer.reasoning_tokens or self.reasoning
        if kind in CONTENT:
            _spoil(answer, kind)
        return answers.shaped(answer, call, self.tokens)

    def deliver(self, trip: Trip) -> None:
        """The answer's time has come."""
        exchange, call, answer = trip.exchange, trip.call, trip.answer
        if not exchange.alive:
            return  # already counted as abandoned
        kind = trip.fault.kind if trip.fault is not None else ""
        headers = self.request_headers()
        if self.headers and trip.limits is not None:
            headers += self.rate_headers(trip.limits)
        self.charge(call, answer)
        spoiled = kind in ("cut", "malformed", "stream_error")
        trip.outcome = "failed" if spoiled else "answered"
        setattr(self.stats, trip.outcome, getattr(self.stats, trip.outcome) + 1)
        if not spoiled:
            self.stats.answered_by_prompt[call.key] += 1
        self.stats.statuses[200] += 1
        if call.stream and answer is not None:
            self.stream(trip, headers, kind)
            return
        body = self.embedded(call, trip.route) if answer is None else self.whole(call, answer)
        if kind == "cut":
            exchange.connection.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
                b"%b" % (len(body), headers, body[: len(body) // 2])
            )
            exchange.drop()
            return
        exchange.reply(200, body[: len(body) * 2 // 3] if kind == "malformed" else body, JSON, headers)

    def stream(self, trip: Trip, headers: bytes, kind: str) -> None:
        assert trip.answer is not None
        events = self.events(trip.call, trip.answer)
        half = max(1, len(events) // 2)
        if kind == "cut":
            events = events[:half]
        elif kind == "malformed":
            events = [*events[:half], b'data: {"id": "brok\n\n', *events[half:]]
        elif kind == "stream_error":
            events = [*events[:half], self.error_event(trip.call)]
        if self.fragment:
            joined = b"".join(events)
            events = [joined[i : i + self.fragment] for i in range(0, len(joined), self.fragment)]
        trip.begun = True
        trip.exchange.start(self.stream_type(trip.route), headers)
        if self.chunk_delay or self.fragment:
            self.step(trip, events, 0)
            return
        chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
        trip.exchange.connection.transport.write(b"".join(chunks))
        self.finish_stream(trip)

    def step(self, trip: Trip, events: list[bytes], at: int) -> None:
        if at >= len(events):
            self.finish_stream(trip)
        elif trip.exchange.alive:
            trip.exchange.chunk(events[at])
            # A fragment is a write of its own; at once they would be one packet again.
            trip.exchange.later(max(self.chunk_delay, 0.001), self.step, trip, events, at + 1)

    def finish_stream(self, trip: Trip) -> None:
        trip.ended = True
        if trip.fault is not None and trip.fault.kind == "cut":
            trip.exchange.drop()
        else:
            trip.exchange.end()

    def stream_type(self, route: Route) -> bytes:
        return SSE

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
            self.stats.failed += 1
            trip.outcome = "failed"
            trip.exchange.drop(reset=kind == "rst")
        elif kind == "html":
            self.stats.failed += 1
            trip.outcome = "failed"
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
        trip.outcome = outcome
        setattr(self.stats, outcome, getattr(self.stats, outcome) + 1)
        self.turn_away(trip.exchange, error, trip)

    def turn_away(self, exchange: Exchange, error: Rejected, trip: Trip | None = None) -> None:
        headers = self.request_headers() + error.headers
        if trip is not None:
            self.stats.statuses[error.status] += 1
            if self.headers and trip.limits is not None:
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
        self.made += 1
        return f"{prefix}{self.created:x}{self.made:08x}"


def _spoil(answer: Answer, kind: str) -> None:
    """Make of a good answer the one that a content fault asks for."""
    if kind == "malformed_content":
        answer.text = '{"broken": "' + answer.text.strip('{}"')[:40].replace('"', "")
        answer.tool_calls = []
    elif kind == "wrong_schema":
        answer.text = encode(WRONG_FIELDS).decode()
        answer.tool_calls = [(name, WRONG_FIELDS) for name, _ in answer.tool_calls]
    elif kind == "truncated":
        answer.text = answer.text[: len(answer.text) // 2]
        answer.finish = "length"
    elif kind == "refusal":
        answer.text, answer.tool_calls = "", []
        answer.refusal, answer.finish = answers.REFUSAL, "refusal"
    elif kind == "content_filter":
        answer.text, answer.tool_calls, answer.finish = "", [], "content_filter"
    elif kind == "empty":
        answer.text, answer.tool_calls = "", []
