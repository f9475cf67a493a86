"""Who computes next: no model needed, only work that can be held up."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swath.local.slots import Job, Slots, shared


@given(st.text("ab", max_size=40), st.text("ab", max_size=40))
def test_shared_counts_the_common_beginning(one: str, other: str) -> None:
    length = shared(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


class Desk:
    """Jobs that run until they are let go, and where each of them ran."""

    def __init__(self, count: int) -> None:
        self.slots = Slots(count)
        self.ran: dict[str, int] = {}
        self.order: list[str] = []
        self._go: dict[str, threading.Event] = {}
        self._begun: dict[str, threading.Event] = {}

    def give(self, name: str, prompt: str) -> Job:
        go, begun = threading.Event(), threading.Event()
        self._go[name], self._begun[name] = go, begun

        def work(slot: int, dropped: threading.Event) -> str:
            self.ran[name] = slot
            self.order.append(name)
            begun.set()
            while not go.wait(0.01) and not dropped.is_set():
                pass
            return "dropped" if dropped.is_set() else name

        return self.slots.submit(prompt, work)

    def begun(self, name: str) -> bool:
        return self._begun[name].wait(0.3)

    def finish(self, *names: str) -> None:
        for name in names:
            assert self._begun[name].wait(2)
            self._go[name].set()


@pytest.fixture
def desk() -> Any:
    made = Desk(2)
    yield made
    assert made.slots.close()


LONG = "the same long speech " * 100


def test_jobs_run_at_once_and_each_gets_its_result(desk: Desk) -> None:
    jobs = {name: desk.give(name, f"{name} prompt") for name in "abcd"}
    assert desk.begun("a")
    assert desk.begun("b")
    assert not desk.begun("c")
    desk.finish("a", "b", "c", "d")
    assert {name: job.future.result(2) for name, job in jobs.items()} == {n: n for n in "abcd"}
    assert set(desk.ran.values()) == {0, 1}


def test_a_prompt_goes_where_its_beginning_is_known(desk: Desk) -> None:
    first = [desk.give(n, p) for n, p in (("a", "first " * 50), ("b", "second " * 50))]
    desk.finish("a", "b")
    for job in first:
        job.future.result(2)
    for round_ in range(6):
        job = desk.give(f"again{round_}", "second " * 50 + str(round_))
        desk.finish(f"again{round_}")
        job.future.result(2)
        assert desk.ran[f"again{round_}"] == desk.ran["b"]


def test_the_second_question_about_a_long_text_waits_for_the_slot_that_reads_it(desk: Desk) -> None:
    desk.give("first", LONG + "question one")
    assert desk.begun("first")
    second = desk.give("second", LONG + "question two")
    assert not desk.begun("second")  # though a slot is idle
    desk.give("other", "another text")
    assert desk.begun("other")
    desk.finish("first", "second", "other")
    assert second.future.result(2) == "second"
    assert desk.ran["second"] == desk.ran["first"]


def test_a_shared_beginning_does_not_leave_slots_idle_for_ever(desk: Desk) -> None:
    names = [f"n{i}" for i in range(6)]
    for name in names:
        desk.give(name, LONG + name)
    assert desk.begun("n0")
    time.sleep(0.1)
    assert len(desk.order) == 2
    assert set(desk.ran.values()) == {0, 1}
    desk.finish(*names)


def test_no_job_is_passed_over_for_ever(desk: Desk) -> None:
    desk.give("hold", "x")
    assert desk.begun("hold")
    desk.give("warm", LONG)
    assert desk.begun("warm")
    lone = desk.give("lone", "something else entirely")
    names = [f"n{i}" for i in range(40)]
    for name in names:
        desk.give(name, LONG + name)
        desk._go[name].set()
    desk.finish("warm")
    assert desk.begun("lone") or desk._begun["lone"].wait(2)
    desk.finish("lone", "hold")
    assert lone.future.result(2) == "lone"
    assert len(desk.order) - 1 - desk.order.index("lone") >= 10


def test_a_dropped_job_is_not_begun_or_ends(desk: Desk) -> None:
    running = desk.give("running", "a")
    desk.give("other", "b")
    assert desk.begun("running")
    waiting = desk.give("waiting", "c")
    waiting.drop()
    running.drop()
    assert running.future.result(2) == "dropped"
    desk.finish("other")
    assert not desk.begun("waiting")
    assert waiting.future.cancelled()


def test_an_error_reaches_the_one_who_asked(desk: Desk) -> None:
    def fail(slot: int, dropped: threading.Event) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        desk.slots.submit("x", fail).future.result(2)
    desk.give("next", "y")
    desk.finish("next")


def test_closing_drops_everything_and_refuses_more() -> None:
    desk = Desk(1)
    running, waiting = desk.give("running", "a"), desk.give("waiting", "b")
    assert desk.begun("running")
    assert desk.slots.close()
    assert running.future.result(2) == "dropped"
    assert waiting.future.cancelled()
    assert desk.give("late", "c").future.cancelled()
