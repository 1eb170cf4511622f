"""One cheap question, asked often while things happen and seldom while they do not."""

from __future__ import annotations

import itertools

from support.makers import NINE

from plugin_scheduler.database.notifier.polling import BRISK, CALM, FULL_LOOK, Probe
from plugin_scheduler.system.clock import TurnedClock


class Asked:
    """A probe that has been calm for a while, and what it is answered."""

    def __init__(self) -> None:
        self.clock = TurnedClock(NINE)
        self.newest, self.times = 1, 0
        self.probe = Probe(self.answer, self.clock)
        self.rings_within(20)
        self.times = 0

    def answer(self) -> object:
        self.times += 1
        return self.newest

    def rings_within(self, seconds: float) -> list[float]:
        """After how many seconds it rang, when a worker looks whenever it is asked to."""
        began, rings = self.clock.monotonic(), []
        while self.clock.monotonic() < began + seconds:
            self.clock.turn(self.probe.interval)
            if self.probe.rung():
                rings.append(self.clock.monotonic() - began)
        return rings


def test_news_ring_at_the_next_question() -> None:
    asked = Asked()
    asked.probe.rung()
    asked.newest = 2
    asked.clock.turn(CALM)
    assert asked.probe.rung()


def test_it_does_not_ask_before_its_pause_is_over() -> None:
    asked = Asked()
    asked.newest = 2
    asked.clock.turn(CALM / 2)
    assert not asked.probe.rung() and asked.times == 0


def test_after_news_it_asks_often_and_then_calms_down() -> None:
    asked = Asked()
    asked.newest = 2
    asked.clock.turn(CALM)
    asked.probe.rung()
    assert asked.probe.interval == BRISK
    pauses = []
    while asked.probe.interval < CALM:
        asked.clock.turn(asked.probe.interval)
        asked.probe.rung()
        pauses.append(asked.probe.interval)
    assert pauses == sorted(pauses) and 20 < len(pauses) < 35


def test_while_nothing_happens_it_asks_less_than_once_a_second_and_does_not_ring() -> None:
    asked = Asked()
    assert asked.rings_within(30) == []
    assert 15 <= asked.times <= 18


def test_after_news_what_the_question_does_not_show_is_found_by_full_looks() -> None:
    asked = Asked()
    asked.newest = 2
    rings = asked.rings_within(CALM + 4)
    pauses = [later - sooner for sooner, later in itertools.pairwise(rings)]
    assert len(rings) > 4
    assert max(pauses) <= FULL_LOOK + CALM / 2 and min(pauses) >= FULL_LOOK - 0.001


def test_a_question_that_fails_rings_so_that_what_follows_finds_out() -> None:
    asked = Asked()
    asked.probe._ask = object  # another one each time: what the dialect answers for an error
    asked.clock.turn(CALM)
    assert asked.probe.rung()
    asked.clock.turn(BRISK)
    assert asked.probe.rung()


def test_it_has_no_file_and_says_how_news_come() -> None:
    probe = Asked().probe
    assert probe.fileno() < 0 and probe.way == "probing" and probe.trouble is None
