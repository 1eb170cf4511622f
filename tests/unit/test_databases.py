"""The tests' own servers: what can be said of them without starting one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.databases import MySQL, PostgreSQL, Shared, newest_first, without_dialect
from support.throwaway import Address, Missing, free_port

from plugin_scheduler.database import dialects


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgres:psycopg2", "mysql+pymysql"])
def test_an_address_is_read_from_whatever_a_driver_calls_it(scheme: str) -> None:
    assert Address.of(f"{scheme}://me:p-w@db1:6000/base", 1) == Address(
        "db1", 6000, "me", "p-w", "base"
    )
    assert Address.of(f"{scheme}://me@db1/base", 5432) == Address("db1", 5432, "me", "", "base")


@pytest.mark.parametrize("uri", ["postgres://db1/base", "mysql://me@db1", "mysql://a:%40@b/c", "x"])
def test_an_address_that_lacks_a_word_is_refused_without_telling_the_password(uri: str) -> None:
    with pytest.raises(ValueError, match="write postgres://user:password@host:port/database"):
        Address.of(uri, 5432)


def test_databases_of_somebodys_server_are_named_in_pydals_words() -> None:
    server = PostgreSQL.elsewhere("postgresql://me:pw@db1/base")
    assert server.uri("x") == "postgres:psycopg2://me:pw@db1:5432/x"
    assert (
        MySQL.elsewhere("mysql://me@h:1/b").uri("x", "h2")
        == "mysql:pymysql://me@h2:1/x?set_encoding=utf8mb4"
    )


def test_the_newest_programs_are_taken(tmp_path: Path) -> None:
    folders = [tmp_path / number / "bin" for number in ("9.6", "15", "16")]
    for folder in folders:
        folder.mkdir(parents=True)
    found = newest_first(f"{tmp_path}/*/bin")
    assert found == [str(folder) for folder in reversed(folders)]


def test_a_missing_server_is_a_skip_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MYSQL_URI", raising=False)
    monkeypatch.setattr(MySQL, "places", lambda self: iter([(None, None)]))
    shared = Shared()
    for _ in range(2):
        with pytest.raises(Missing, match="install mariadb-server, or set MYSQL_URI"):
            shared.server("mysql")
    assert list(shared.missing) == ["mysql"]
    monkeypatch.setenv("MYSQL_URI", "mysql://me@db1/base")
    with pytest.raises(Missing, match=r"server to stop and start: install mariadb-server$"):
        with shared.another("mysql"):
            pass


def test_a_port_of_a_server_is_free_and_no_clients() -> None:
    port = free_port()
    assert 15000 <= port < 30000
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_dialect_is_taken_away_for_a_while() -> None:
    before = dict(dialects._DIALECTS)
    with without_dialect("sqlite"):
        assert "sqlite" not in dialects._DIALECTS
    assert dialects._DIALECTS == before
