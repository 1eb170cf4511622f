"""Statements that are written once: each value finds its place, in whichever order."""

from __future__ import annotations

from datetime import datetime

import pytest

from plugin_scheduler.database.dialects.sql_template import Placeholders, Statement

NINE = datetime(2026, 5, 4, 9, 0, 0, 123)


def statement(mark: str = "?") -> Statement:
    place = Placeholders()
    sql = (
        f"UPDATE t SET a = '{place.text('who')}', b = '{place.time('now')}' "
        f"WHERE id IN ({place.numbers('ids')[0]}) AND c LIKE 'x%' AND d = '{place.text('who')}';"
    )
    return Statement(sql, place, mark)


def test_texts_and_times_are_given_to_the_driver_and_numbers_are_written() -> None:
    sql, given = statement().filled({"who": "O'Hara; %s ?", "now": NINE, "ids": [3, 4]})
    assert sql == "UPDATE t SET a = ?, b = ? WHERE id IN (3,4) AND c LIKE 'x%' AND d = ?"
    assert given == ["O'Hara; %s ?", "2026-05-04 09:00:00", "O'Hara; %s ?"]


def test_it_is_said_again_with_other_values() -> None:
    one = statement()
    for ids in ([1], {7}, range(2)):
        sql, _ = one.filled({"who": "me", "now": NINE, "ids": ids})
        assert f"IN ({','.join(map(str, ids))})" in sql


def test_percent_signs_are_doubled_only_where_the_driver_looks_for_its_own() -> None:
    sql, _ = statement("%s").filled({"who": "me", "now": NINE, "ids": [1]})
    assert "LIKE 'x%%'" in sql and sql % (1, 2, 3)
    place = Placeholders()
    plain = Statement(f"SELECT '5%' FROM t WHERE id IN ({place.number('ids')})", place, "%s")
    assert plain.filled({"ids": [9]}) == ("SELECT '5%' FROM t WHERE id IN (9)", None)


def test_nothing_but_numbers_gets_into_a_list() -> None:
    with pytest.raises(ValueError):
        statement().filled({"who": "me", "now": NINE, "ids": ["1); DROP TABLE t; --"]})


def test_an_empty_list_finds_no_row_and_is_no_mistake() -> None:
    sql, _ = statement().filled({"who": "me", "now": NINE, "ids": []})
    assert "IN (0)" in sql
