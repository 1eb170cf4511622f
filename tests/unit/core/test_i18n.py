"""Sentences are English text, and can be said in another language later."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from plugin_scheduler.core.i18n import Sentence

ITALIAN = {"{what} waits": "{what} aspetta", "{n} h": "{n} ore", "a, b": "no"}


def italian(template: str) -> str:
    return ITALIAN.get(template, template)


def test_a_sentence_is_its_english_text() -> None:
    one = Sentence("{what} waits", what="w1")
    assert one == "w1 waits" and isinstance(one, str)


def test_a_sentence_is_said_in_another_language_with_what_it_holds() -> None:
    hours = Sentence("{n} h", n=3)
    assert Sentence("{what} waits", what=hours).said(italian) == "3 ore aspetta"
    assert Sentence("{what} waits", what=[hours, "w1"]) == "3 h, w1 waits"
    assert Sentence("{what} waits", what=[hours, "w1"]).said(italian) == "3 ore, w1 aspetta"


def test_a_plain_text_in_a_sentence_is_never_a_template() -> None:
    assert Sentence("{what} waits", what="{n} {0}").said(italian) == "{n} {0} aspetta"


def test_numbers_keep_their_format() -> None:
    assert Sentence("{n:,} tasks", n=12345) == "12,345 tasks"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_can_still_be_translated_and_takes_no_text_for_a_template(copied: Any) -> None:
    one = copied(Sentence("{what} waits", what="{n}"))
    assert one == "{n} waits" and one.said(italian) == "{n} aspetta"
