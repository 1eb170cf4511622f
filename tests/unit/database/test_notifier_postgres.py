"""PostgreSQL's notifier as a machine of states; its ears are pretended, its clock is turned.

Real connections are cut, cheated and pooled in `acceptance/test_wake_up`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.makers import NINE

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.database.notifier.postgres import (
    DEAF,
    HEARD_WITHIN,
    POLL,
    SELDOM,
    TEST_EVERY,
    Listener,
)
from plugin_scheduler.system.clock import TurnedClock

ME, SOMEBODY = 100, 200


class FakeListenConnection:
    """As much of an ear as the listener sees: a file, and what came."""

    def __init__(self) -> None:
        self.file, self.other_end = os.pipe()
        self.listens_to: list[str] = []
        self.news: list[SimpleNamespace] = []
        self.is_cut = self.is_closed = False

    def ask(self, query: str) -> list[object]:
        self.listens_to.append(query.removeprefix("LISTEN ").strip('"'))
        return []

    def fileno(self) -> int:
        return self.file

    def hear(self) -> list[SimpleNamespace]:
        if self.is_cut:
            raise RuntimeError("the server said goodbye\nand more")
        heard, self.news = self.news, []
        return heard

    def close(self) -> None:
        if not self.is_closed:
            os.close(self.file)
            os.close(self.other_end)
        self.is_closed = True


class Street:
    """A listener, and the server it listens to."""

    def __init__(self) -> None:
        self.clock = TurnedClock(NINE)
        self.ears: list[FakeListenConnection] = []
        self.rings: list[str] = []
        self.mute: str | None = None
        self.refusal: Exception | None = None
        self.is_away = False
        self.bell = Listener(self.open_listen_connection, self.ring, lambda: ME, "news", self.clock)

    def open_listen_connection(self) -> FakeListenConnection:
        if self.refusal is not None:
            raise self.refusal
        self.ears.append(FakeListenConnection())
        return self.ears[-1]

    def ring(self, channel: str) -> str | None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.rings.append(channel)
        return self.mute

    @property
    def ear(self) -> FakeListenConnection:
        return self.ears[-1]

    def tell(self, pid: int = SOMEBODY, channel: str = "news") -> None:
        self.ear.news.append(SimpleNamespace(pid=pid, channel=channel))

    def answer(self) -> None:
        """The own ring arrives."""
        self.tell(ME, self.rings[-1])
        self.bell.heed()

    def hears(self) -> None:
        self.bell.test()
        self.answer()
        self.bell.rung()

    def passes(self, seconds: float) -> None:
        """Tested each second, as a worker does."""
        for _ in range(int(seconds)):
            self.clock.turn(1)
            self.bell.test()


@pytest.fixture
def street() -> Iterator[Street]:
    one = Street()
    yield one
    one.bell.close()
    assert all(ear.is_closed for ear in one.ears)


def test_until_it_has_heard_itself_it_is_not_relied_on(street: Street) -> None:
    assert street.bell.interval == POLL
    street.bell.test()
    assert street.bell.interval == POLL and street.bell.trouble is None
    street.answer()
    street.bell.rung()
    assert street.bell.interval == math.inf and street.bell.way == "LISTEN"


def test_it_listens_to_all_and_to_a_channel_of_its_own(street: Street) -> None:
    street.bell.test()
    everybodys, own = street.ear.listens_to
    assert everybodys == "news" and own.startswith("news_") and street.rings == [own]


def test_it_rings_for_others_and_not_for_what_its_worker_wrote(street: Street) -> None:
    street.hears()
    street.tell(ME)
    assert not street.bell.rung()
    street.tell(SOMEBODY)
    assert street.bell.rung() and not street.bell.rung()


def test_its_file_stays_the_same_and_becomes_readable_with_news(street: Street) -> None:
    import select

    before = street.bell.fileno()
    street.bell.test()
    assert not select.select([street.bell], [], [], 0)[0]
    os.write(street.ear.other_end, b"x")
    assert select.select([street.bell], [], [], 0)[0]
    street.ear.is_cut = True
    street.bell.heed()
    street.bell.test()
    assert street.bell.fileno() == before and len(street.ears) == 2


def test_what_was_heard_beside_a_test_is_not_kept_waiting(street: Street) -> None:
    street.hears()
    street.tell(SOMEBODY)
    street.bell.test()
    assert street.bell.interval == 0
    assert street.bell.rung() and street.bell.interval == math.inf


def test_what_was_written_before_it_heard_is_looked_for(street: Street) -> None:
    street.bell.test()
    street.bell.rung()
    street.answer()
    assert street.bell.rung() and not street.bell.rung()
    street.ear.is_cut = True
    street.bell.rung()
    street.bell.test()
    assert not street.bell.rung(), "the new ear may be deaf, too"
    street.answer()
    assert street.bell.rung() and not street.bell.rung()


def test_while_it_hears_nobody_looks_in_vain(street: Street) -> None:
    street.hears()
    street.clock.turn(HEARD_WITHIN - 0.1)
    assert not street.bell.rung()


def test_it_tests_itself_every_few_seconds_and_not_more_often(street: Street) -> None:
    street.hears()
    for _ in range(10):
        street.clock.turn(TEST_EVERY / 4)
        street.bell.test()
        street.answer()
    assert len(street.rings) == 3 and len(street.ears) == 1


def test_an_ear_that_is_cut_is_told_of_and_replaced_at_the_next_test(street: Street) -> None:
    street.hears()
    street.ear.is_cut = True
    assert street.bell.rung(), "something may have been missed"
    assert street.bell.trouble == "the server said goodbye" and street.bell.way == "polling"
    assert street.bell.interval == POLL and not street.bell.rung()
    street.bell.test()
    assert len(street.ears) == 2 and street.bell.trouble, "it has not heard itself yet"
    street.answer()
    street.bell.rung()
    assert street.bell.trouble is None and street.bell.interval == math.inf


def test_while_it_is_deaf_it_rings_twice_a_second(street: Street) -> None:
    street.refusal = RuntimeError("too many connections")
    street.bell.test()
    assert street.bell.rung()
    for _ in range(3):
        assert not street.bell.rung()
        street.clock.turn(POLL)
        assert street.bell.rung()


def test_an_ear_that_does_not_hear_its_own_ring_in_time_is_replaced(street: Street) -> None:
    street.hears()
    street.passes(TEST_EVERY)
    street.clock.turn(HEARD_WITHIN)
    street.bell.test()
    assert street.bell.trouble == DEAF
    assert street.ears[0].is_closed and len(street.ears) == 2
    street.answer()
    assert street.bell.trouble is None


def test_a_worker_that_slept_hears_what_waits_before_it_calls_an_ear_deaf(street: Street) -> None:
    street.hears()
    street.passes(TEST_EVERY)
    street.tell(ME, street.rings[-1])
    street.clock.turn(3600)
    street.bell.test()
    assert street.bell.trouble is None and len(street.ears) == 1


def test_where_no_ear_ever_hears_it_tries_less_and_less_often(street: Street) -> None:
    for _ in range(600):
        street.clock.turn(1)
        street.bell.test()
    early = len(street.ears)
    assert early < 20 and all(ear.is_closed for ear in street.ears[:-1])
    street.passes(10 * SELDOM)
    assert 8 <= len(street.ears) - early <= 11


def test_one_refused_connection_is_made_good_at_once(street: Street) -> None:
    street.refusal = ConnectionError("starting up")
    street.bell.test()
    street.refusal = None
    street.bell.test()
    street.answer()
    assert street.bell.trouble is None


def test_an_error_without_words_has_a_sentence_nevertheless(street: Street) -> None:
    street.refusal = ConnectionError()
    street.bell.test()
    assert street.bell.trouble == DEAF


def test_that_the_database_is_away_does_not_make_an_ear_deaf(street: Street) -> None:
    street.hears()
    street.is_away = True
    street.clock.turn(TEST_EVERY)
    with pytest.raises(StoreUnavailable):
        street.bell.test()
    street.is_away = False
    street.passes(HEARD_WITHIN + 1)
    assert street.bell.trouble is None and len(street.ears) == 1


def test_where_writers_do_not_ring_it_looks_twice_a_second_and_says_so(street: Street) -> None:
    street.mute = "no triggers"
    street.hears()
    assert street.bell.trouble == "no triggers" and street.bell.interval == POLL
    assert street.bell.way == "polling"
    street.mute = None
    street.bell.rung()
    street.passes(TEST_EVERY)
    assert street.bell.rung(), "what was written before there were triggers"
    street.answer()
    assert street.bell.trouble is None and street.bell.interval == math.inf


def test_a_deaf_ear_is_the_first_thing_to_tell_of(street: Street) -> None:
    street.mute, street.refusal = "no triggers", ConnectionError("a connection pooler")
    street.bell.test()
    assert street.bell.trouble == "a connection pooler" and len(street.rings) == 1
