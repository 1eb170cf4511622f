"""A name belongs to one worker, also where two register it at the same moment; and what else
keeps a worker from its row is told for what it is."""

from __future__ import annotations

import pytest
from support.home import Connect, engine_on
from support.plans import Statement, heard

from plugin_scheduler.core.errors import ConfigError, NameTaken, StoreUnavailable

#: By the engine: have the database refuse rows of workers, with what it says of a constraint.
REFUSING = {
    "sqlite": [
        "CREATE TRIGGER refuses BEFORE INSERT ON scheduler_worker "
        "BEGIN SELECT RAISE(ABORT, 'no workers at night'); END"
    ],
    "postgres": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'no workers at night' USING ERRCODE = 'check_violation'; END $$",
        "CREATE TRIGGER refuses BEFORE INSERT ON scheduler_worker FOR EACH ROW "
        "EXECUTE PROCEDURE refuse()",
    ],
    "mysql": [
        "CREATE TRIGGER refuses BEFORE INSERT ON scheduler_worker FOR EACH ROW "
        "SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 1048, MESSAGE_TEXT = 'no workers at night'"
    ],
}


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
            assert "worker name 'w' is used by a live worker" in str(error)
        assert len(registered) == 1
        with pytest.raises(NameTaken, match="is used by a live worker"):
            second.workers.register("w", {"token": "third"})


def test_a_row_that_the_database_refuses_for_another_reason_is_no_name_that_is_taken(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        store.workers.register("w", {"token": "first"})
        store.db(store.db.scheduler_worker).update(lease_until=1.0)
        for statement in REFUSING[str(store.db._adapter.dbengine)]:
            store.db.executesql(statement)
        store.db.commit()
        for name in ("w", "new"):
            with pytest.raises(
                ConfigError, match=r"rejected the row .*no workers at night"
            ) as told:
                store.workers.register(name, {})
            assert not isinstance(told.value, NameTaken)
