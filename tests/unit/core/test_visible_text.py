"""Names and texts from outside cannot act on the screen of the person who reads them."""

from __future__ import annotations

import doctest
import re
import sys

import pytest
from plugin_scheduler.views import STATIC

from plugin_scheduler.core import visible_text
from plugin_scheduler.core.visible_text import visible

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("text", ["", "send_mail", "Grüße 世界 👩‍👩‍👧", "שלום", "100% {x} \\n"])
def test_ordinary_text_of_every_language_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_nothing_stays_that_ends_a_line_commands_a_terminal_or_turns_the_direction() -> None:
    acts = [*map(chr, (*range(32), *range(0x7F, 0xA0))), *BIDI, "\u2028", "\u2029", "\udce9"]
    for one in acts:
        shown = visible(f"a{one}b")
        assert shown.isprintable() and shown.isascii() and shown not in ("ab", f"a{one}b")
        assert len(shown.splitlines()) == 1


def test_no_character_at_all_breaks_a_line_or_an_output() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = visible(everything)
    assert len(shown.splitlines()) == 1
    shown.encode()


def test_texts_of_many_lines_keep_their_lines_and_tabs_and_nothing_else() -> None:
    assert visible("a\tb\nc\r\x1b[31m\u202e", lines=True) == r"a	b" + "\n" + r"c\r\x1b[31m\u202e"


def test_scripts_take_the_same_characters_for_harmful_as_the_server_does() -> None:
    script = (STATIC / "pages.js").read_text("utf-8")
    found = re.search(r"const ACTS = /(.+)/gu;", script)
    assert found is not None
    everything = list(map(chr, range(sys.maxunicode + 1)))
    acts = [one for one in everything if visible(one, lines=True) != one]
    assert re.findall(found[1], "".join(everything)) == acts


def test_the_example_holds() -> None:
    assert doctest.testmod(visible_text).failed == 0
