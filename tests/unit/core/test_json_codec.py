"""Values on their way into JSON."""

from __future__ import annotations

import datetime
import decimal
import json
import re
import threading
import time
import uuid
from typing import Any

import pytest
from pydal import DAL, Field
from pydal.objects import Row

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.json_codec import decode, document, encode, from_json

UUID = uuid.UUID("11111111-2222-3333-4444-555555555555")


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def problem(value: Any) -> str:
    with pytest.raises(BadTask) as caught:
        encode(value, "the result")
    head = "the result cannot be stored as JSON: "
    assert str(caught.value).startswith(head)
    return str(caught.value)[len(head) :]


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, "", "é€\x00", [], {}, {"a": [1, {"b": None}]}]
)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert decode(encode(value, "x")) == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (datetime.datetime(2026, 5, 1, 9, 0, 7), "2026-05-01T09:00:07"),
        (datetime.date(2026, 5, 1), "2026-05-01"),
        (datetime.time(9, 30), "09:30:00"),
        (decimal.Decimal("1.10"), "1.10"),
        (UUID, str(UUID)),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({2}), [2]),
        ((1, 2), [1, 2]),
        ("é".encode(), "é"),
        ({"deep": [(datetime.date(2026, 5, 1),)]}, {"deep": [["2026-05-01"]]}),
    ],
)
def test_other_values_become_their_nearest_plain_one(value: Any, plain: Any) -> None:
    assert decode(encode(value, "x")) == plain


def test_rows_become_lists_of_dicts() -> None:
    db = DAL("sqlite:memory")
    db.define_table("thing", Field("name"), Field("day", "date"))
    db.thing.insert(name="x", day=datetime.date(2026, 5, 1))
    rows = db(db.thing).select()
    plain = {"id": 1, "name": "x", "day": "2026-05-01"}
    assert decode(encode(rows, "x")) == [plain]
    assert decode(encode({"row": rows.first()}, "x")) == {"row": plain}
    db.close()


def test_text_for_a_database_is_plain_ascii() -> None:
    assert encode("é😀\x00", "x").isascii()


def test_nothing_stored_is_no_value() -> None:
    assert decode(None) is None
    assert decode("") is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "it is of type object"),
        ([1, {"a": lambda: 0}], "[1]['a'] is of type function"),
        ({"a": (1, 2, 3j)}, "['a'][2] is of type complex"),
        ({"a": b"\xff"}, "['a'] is of type bytes"),
        ({(1, 2): 3}, "its key (1, 2) is of type tuple"),
        ([{datetime.date(2026, 5, 1): 3}], "[0]'s key datetime.date(2026, 5, 1) is of type"),
        ([dict], "[0] is of type type"),
        (threading.Lock(), "it is of type _thread.lock"),
        (float("nan"), "it is nan, which is not valid JSON"),
        ({"a": [1, float("-inf")]}, "['a'][1] is -inf, which is not valid JSON"),
        ({float("nan"): 1}, "its key nan is nan, which is not valid JSON"),
        ([{1: "a", "1": "b"}], "[0] has the keys 1 and '1', equal in JSON"),
        ({True: "a", "true": "b"}, "it has the keys True and 'true', equal in JSON"),
        ({None: "a", "null": "b"}, "it has the keys None and 'null', equal in JSON"),
        ({Row(a=1): 2}, "its key <Row {'a': 1}> is of type pydal.objects.Row"),
        (Row(a=Row(b={1: 1, "1": 1})), "['a']['b'] has the keys 1 and '1', equal in JSON"),
        (["caf\udce9"], "[0] contains half of a character (\\udce9), as from invalid UTF-8"),
        ({"caf\udce9": 1}, "its key 'caf\\udce9' contains half of a character (\\udce9)"),
        ([10**5000], "[0] is a number with more than 4300 digits"),
        (nested(257), f"{'[0]' * 66}[0... is more than 256 levels deep"),
    ],
)
def test_what_cannot_be_stored_is_named_by_its_place_and_type(value: Any, words: str) -> None:
    assert problem(value).startswith(words)


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert "Circular" in problem(ring)


def test_many_values_that_refer_to_each_other_are_refused_at_once() -> None:
    parent: dict[str, Any] = {"children": []}
    parent["children"] = [{"parent": parent, "others": parent["children"]} for _ in range(50)]
    began = time.perf_counter()
    assert "Circular" in problem(parent)
    assert time.perf_counter() - began < 0.5


def test_values_nested_too_deep_are_refused() -> None:
    assert problem(nested(100_000)).endswith("is more than 256 levels deep")
    assert decode(encode(nested(256), "x")) == nested(256)


def test_what_is_encoded_is_json_for_everybody() -> None:
    assert json.loads(encode({1: "a", None: "b"}, "x")) == {"1": "a", "null": "b"}
    backslashes = {"\\ud800": "\\\\udce9", "😀": ["\\", "\U0010ffff"]}
    assert json.loads(encode(backslashes, "x")) == backslashes
    assert from_json('{"\\uD83D\\uDE00": [-1.5e3, 1]}') == {"😀": [-1500.0, 1]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("[1e400]", "1e400 is not JSON"),
        ("9" * 5000, "4300 digits"),
        ('{"a": {"b": 1, "b": 2}}', 'the key "b" occurs twice'),
        ('["\\uDCE9"]', "[0] contains half of a character"),
        ('{"\\ud83d": 1}', "its key '\\ud83d' contains half of a character"),
        ("[" * 300 + "]" * 300, "is more than 256 levels deep"),
        ("[" * 100_000 + "]" * 100_000, "is more than 256 levels deep"),
        ("[1", "Expecting"),
    ],
    ids=lambda text: text[:12],
)
def test_text_that_other_parsers_refuse_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        from_json(text)


def test_what_old_rows_hold_is_told_as_json_for_everybody() -> None:
    old = {"result": decode('[NaN, -Infinity, 1e999, {"a": 1}]'), "day": datetime.date(2026, 5, 1)}
    told = {"result": ["NaN", "-Infinity", "Infinity", {"a": 1}], "day": "2026-05-01"}
    assert document(old) == told
