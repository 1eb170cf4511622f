"""Which failures of a connection may pass, by what drivers say of them."""

from __future__ import annotations

import sqlite3

import pytest

from plugin_scheduler.database.dialects import is_passing


class OperationalError(Exception):
    """As a driver names it."""


HEAD = "Failure to connect, tried 1 times:\nTraceback (most recent call last):\n  File ...\n"
PASSES = (
    'psycopg2.OperationalError: connection to server at "db" (10.0.0.1), port 5432 failed: '
    "Connection refused\n\tIs the server running on that host?",
    'psycopg2.OperationalError: connection to server on socket "/run/.s.PGSQL.5432" failed: '
    "No such file or directory",
    "psycopg2.OperationalError: FATAL:  the database system is starting up",
    "psycopg2.OperationalError: FATAL:  sorry, too many clients already",
    'psycopg2.OperationalError: could not translate host name "db" to address: '
    "Temporary failure in name resolution",
    "pymysql.err.OperationalError: (2003, \"Can't connect to MySQL server on 'db' ([Errno 111] "
    'Connection refused)")',
    'pymysql.err.OperationalError: (1040, "Too many connections")',
    "sqlite3.OperationalError: database is locked",
)
STAYS = (
    'psycopg2.OperationalError: FATAL:  password authentication failed for user "me"',
    'psycopg2.OperationalError: FATAL:  database "shop" does not exist',
    "pymysql.err.OperationalError: (1045, \"Access denied for user 'me'@'db'\")",
    "pymysql.err.OperationalError: (1049, \"Unknown database 'shop'\")",
    "sqlite3.OperationalError: unable to open database file",
)


@pytest.mark.parametrize("words", PASSES)
def test_a_server_that_is_away_starting_or_full_may_come_back(words: str) -> None:
    assert is_passing(RuntimeError(HEAD + words))
    assert is_passing(OperationalError(words))


@pytest.mark.parametrize("words", STAYS)
def test_what_a_person_has_to_mend_does_not_pass_by_itself(words: str) -> None:
    assert not is_passing(RuntimeError(HEAD + words))
    assert not is_passing(OperationalError(words))


def test_the_reason_behind_a_reason_counts_and_other_programs_errors_do_not() -> None:
    try:
        try:
            raise sqlite3.OperationalError("database is locked")
        except sqlite3.OperationalError as error:
            raise ValueError("the app could not be prepared") from error
    except ValueError as error:
        assert is_passing(error)
    assert not is_passing(ConnectionRefusedError("connection refused"))
    assert not is_passing(FileNotFoundError(2, "No such file or directory"))
