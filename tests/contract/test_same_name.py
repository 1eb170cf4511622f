"""A name belongs to one worker, also where two register it at the same moment."""

from __future__ import annotations

import pytest
from home import Connect, engine_on
from plans import Statement, heard

from plugin_scheduler.errors import ConfigError, StoreUnavailable


def test_of_two_workers_that_register_one_name_at_the_same_moment_one_is_refused_in_words(
    connect: Connect,
) -> None:
    with engine_on(connect) as first, engine_on(connect) as second:
        registered: list[int] = []
        sent: list[Statement] = []

        def meanwhile() -> None:
            """Just before the first one adds its row."""
            if registered or not sent[-1][0].startswith("INSERT"):
                return
            try:
                registered.append(second.workers.register("w", {"token": "second"}))
            except StoreUnavailable:  # a file that is locked as a whole
                pass

        try:
            with heard(first.db, meanwhile) as sent:
                registered.append(first.workers.register("w", {"token": "first"}))
        except ConfigError as error:
            assert "worker name 'w' is taken by a worker that is alive" in str(error)
        assert len(registered) == 1
        with pytest.raises(ConfigError, match="is taken"):
            second.workers.register("w", {"token": "third"})
