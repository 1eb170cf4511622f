"""How a worker's own session is set, whatever is usual in this database, or wanted by the app."""

from __future__ import annotations

import pytest
from support.home import Connect, engine_on

on_postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
on_mysql = pytest.mark.parametrize("database", ["mysql"], indirect=True)


@on_mysql
def test_flags_that_an_app_wants_of_its_driver_are_added_to_ours(connect: Connect) -> None:
    many_statements, found_rows = 1 << 16, 2
    with engine_on(connect, client_flag=many_statements, read_timeout=7000) as store:
        options = store.db._adapter.driver_args
        assert options["client_flag"] == many_statements | found_rows
        assert options["read_timeout"] < 60, "how long a worker waits is not the app's to say"
        worker_id = store.workers.register("me", {})
        assert all(store.workers.beat(worker_id, {}) for _ in range(3))


@on_postgres
def test_behind_a_pooler_no_setting_outlives_its_transaction(connect: Connect) -> None:
    with engine_on(connect) as store:
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            store.db.executesql(f"SET {setting} = 0")  # as a session that another one used
        store.dialect.is_direct = False
        with store.dialect.transaction():
            assert store.db.executesql("SHOW lock_timeout") == [("500ms",)]
        store.workers.beat(store.workers.register("me", {}), {})
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            assert store.db.executesql(f"SHOW {setting}") == [("0",)]


@on_postgres
def test_on_a_session_of_its_own_a_worker_waits_for_locks_only_so_long(connect: Connect) -> None:
    with engine_on(connect) as store:
        assert store.dialect.is_direct
        assert store.db.executesql("SHOW lock_timeout") == [("500ms",)]
        assert store.db.executesql("SHOW idle_in_transaction_session_timeout") != [("0",)]


@on_postgres
def test_a_worker_sees_rows_as_they_are_whatever_isolation_is_usual_in_this_database(
    connect: Connect,
) -> None:
    db = connect()
    [[name]] = db.executesql("SELECT current_database()")
    try:
        db.executesql(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable')
        db.commit()
        with engine_on(connect) as store, store.dialect.transaction():
            assert store.db.executesql("SHOW transaction_isolation") == [("read committed",)]
    finally:
        db.executesql(f'ALTER DATABASE "{name}" RESET default_transaction_isolation')
        db.commit()


@on_postgres
def test_so_it_does_on_a_session_that_a_pooler_lends_it(connect: Connect) -> None:
    with engine_on(connect) as store:
        store.dialect.is_direct = False
        store.db.executesql("SET default_transaction_isolation = 'serializable'")
        for way in (store.dialect.transaction, store.dialect.reading):
            with way():
                assert store.db.executesql("SHOW transaction_isolation") == [("read committed",)]
