"""The last stretch of a call: its answer is charged and written, or spoiled on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .core import JSON

if TYPE_CHECKING:
    from .trip import Trip

# After these the model has done its work and is paid, yet the client has no whole answer.
_SPOILED = frozenset(("cut", "malformed", "stream_error"))


def deliver(trip: Trip) -> None:
    """The answer's time has come."""
    exchange, call, answer, server = trip.exchange, trip.call, trip.answer, trip.server
    if not exchange.alive:
        return  # already counted as abandoned
    stats = server.stats
    kind = trip.fault.kind if trip.fault is not None else ""
    headers = server.request_headers()
    if server.headers and trip.limits is not None and trip.limits.gauges:
        headers += server.rate_headers(trip.limits)
    server.charge(call, answer)
    if kind in _SPOILED:
        trip.settle("failed")
    else:
        trip.settle("answered")
        stats.answered_by_prompt[call.key] += 1
    stats.statuses[200] += 1
    if call.stream and answer is not None:
        _stream(trip, headers, kind)
        return
    body = server.embedded(call, trip.route) if answer is None else server.whole(call, answer)
    if kind == "cut":
        exchange.drop(
            data=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n%b\r\n%b" % (len(body), headers, body[: len(body) // 2])
        )
    elif kind == "malformed":
        exchange.reply(200, body[: len(body) * 2 // 3], JSON, headers)
    else:
        exchange.reply(200, body, JSON, headers)


def _stream(trip: Trip, headers: bytes, kind: str) -> None:
    assert trip.answer is not None
    server = trip.server
    events = server.events(trip.call, trip.answer)
    half = max(1, len(events) // 2)
    if kind == "cut":
        events = events[:half]
    elif kind == "malformed":
        events = [*events[:half], server.broken_event(trip.call), *events[half:]]
    elif kind == "stream_error":
        events = [*events[:half], server.error_event(trip.call)]
    if server.fragment:
        joined = b"".join(events)
        events = [joined[i : i + server.fragment] for i in range(0, len(joined), server.fragment)]
    trip.begun = True
    trip.exchange.start(server.stream_type(trip.route), headers)
    if server.chunk_delay or server.fragment:
        _step(trip, events, 0)
    else:
        _finish(trip, b"".join([b"%x\r\n%b\r\n" % (len(event), event) for event in events]))


def _step(trip: Trip, events: list[bytes], at: int) -> None:
    if at >= len(events):
        _finish(trip)
    elif trip.exchange.alive:
        trip.exchange.chunk(events[at])
        # A fragment is a write of its own; at once they would be one packet again.
        trip.exchange.later(max(trip.server.chunk_delay, 0.001), _step, trip, events, at + 1)


def _finish(trip: Trip, chunks: bytes = b"") -> None:
    trip.ended = True
    if trip.fault is not None and trip.fault.kind == "cut":
        trip.exchange.drop(data=chunks)
    else:
        trip.exchange.end(chunks)
