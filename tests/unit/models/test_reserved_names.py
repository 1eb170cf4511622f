"""Names of tables and columns pass every list of reserved words that pydal has."""

from __future__ import annotations

from datetime import datetime

import pytest
from plugin_scheduler.models import TABLES, define_tables
from plugin_scheduler.models.migrations import tables_of
from pydal import DAL, Field
from pydal.contrib.reserved_sql_keywords import ADAPTERS

from plugin_scheduler.core.errors import ConfigError


def test_no_name_of_a_table_or_column_is_a_reserved_word() -> None:
    db = DAL("sqlite:memory")
    define_tables(db, now=datetime.now)
    names = {name for table in TABLES for name in (table, *db[table].fields)}
    assert len(names) > 60
    taken = {
        (name, words) for words in ADAPTERS for name in names if name.upper() in ADAPTERS[words]
    }
    assert taken == set()
    db.close()


@pytest.mark.parametrize("words", ["all", "postgres_nonreserved", "mysql", "sqlite"])
def test_an_app_may_have_names_checked(words: str) -> None:
    db = DAL("sqlite:memory", check_reserved=[words])
    define_tables(db, now=datetime.now)
    assert set(db.tables) >= set(TABLES)
    db.close()


def test_a_mistake_in_a_definition_is_not_told_as_a_lock() -> None:
    db = DAL("sqlite:memory", check_reserved=["all"])
    with (
        pytest.raises(ConfigError, match='"select" is a "ALL" reserved') as error,
        tables_of(db, True) as tables,
    ):
        tables.define("scheduler_history", Field("select"))
    assert "session" not in str(error.value)
    db.close()
