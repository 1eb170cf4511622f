"""Reasons are data first, and English second."""

from __future__ import annotations

import copy
import pickle
import string

import pytest

from plugin_scheduler.core.reasons import (
    REASON_LIMIT,
    TEMPLATES,
    Reason,
    ReasonCode,
    WrittenReason,
    code_of,
    reason_columns,
    stored_reason,
)

CODES = list(ReasonCode)


@pytest.mark.parametrize("code", CODES)
def test_each_code_fits_its_column_and_has_a_sentence(code: ReasonCode) -> None:
    assert len(code.value) <= 40
    names = {name for _, name, _, _ in string.Formatter().parse(TEMPLATES[code]) if name}
    reason = Reason(code, **dict.fromkeys(names, "x"))
    assert str(reason) and reason_columns(reason) == {
        "reason": str(reason),
        "reason_code": code.value,
    }


@pytest.mark.parametrize("code", CODES)
def test_a_stored_reason_is_said_in_another_language_as_if_it_were_new(code: ReasonCode) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(TEMPLATES[code]) if name}
    reason = Reason(code, **dict.fromkeys(names, "a (b), {c}\nd"))
    stored = stored_reason(str(reason), code.value)
    assert isinstance(stored, Reason) and stored == reason
    assert stored.said("IT {}".format) == reason.said("IT {}".format)


def test_a_stored_reason_that_no_template_gives_stays_as_it_is() -> None:
    for reason, code in (
        ("its worker w1 vanished", "worker_died"),
        ("its worker w1 died", None),
        ("its worker w1 died", "no_such_code"),
        (None, "worker_died"),
        ("", "timeout"),
    ):
        stored = stored_reason(reason, code)
        assert stored == reason and not isinstance(stored, Reason)


def test_a_reason_is_cut_and_keeps_its_code() -> None:
    columns = reason_columns(Reason(ReasonCode.RAISED, error="x" * 2000))
    assert len(columns["reason"] or "") == REASON_LIMIT and columns["reason_code"] == "raised"
    assert reason_columns(None) == {"reason": None, "reason_code": None}
    assert code_of("plain text") is None


def test_braces_in_a_value_stay_as_they_are() -> None:
    reason = Reason(ReasonCode.RAISED, error="KeyError: '{worker}'")
    assert reason == "KeyError: '{worker}'"
    assert copy.deepcopy(reason).code == pickle.loads(pickle.dumps(reason)).code == "raised"


def test_a_reason_of_another_process_has_a_code_only_if_there_is_such_a_code() -> None:
    assert WrittenReason("ValueError: 3", "raised").code == "raised"
    for nonsense in ("no_such_code", None, 7, ["raised"], {}):
        assert WrittenReason("ValueError: 3", nonsense).code is None
    assert copy.copy(WrittenReason("x", "raised")).code == "raised"
