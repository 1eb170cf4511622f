"""A misspelled word is answered with the one that was meant; numbers are written plainly."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from plugin_scheduler.cli.main import command
from plugin_scheduler.cli.parsing import Word
from plugin_scheduler.cli.render import _progress
from plugin_scheduler.core.errors import NotFound
from plugin_scheduler.core.registry import Catalog
from plugin_scheduler.core.spelling import did_you_mean, nearest
from plugin_scheduler.core.types import TaskStatus


def test_the_nearest_word_is_found_in_upper_and_lower_case() -> None:
    assert nearest("faild", TaskStatus.ALL) == "FAILED"
    assert nearest("xyz", TaskStatus.ALL) is None and did_you_mean("", []) == ""


def test_an_unknown_function_status_and_sub_command_are_told_with_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"known tasks: send_mail; did you mean send_mail\?"):
        Catalog({"send_mail": print}, {}).find("sendmail")
    with pytest.raises(click.BadParameter, match=r"did you mean COMPLETED\?"):
        Word(TaskStatus.ALL, case_sensitive=False).convert("complete", None, None)
    answer = CliRunner().invoke(command, ["stauts"])
    assert answer.exit_code == 2 and "no such command 'stauts'; did you mean status?" in (
        answer.output
    )


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({"at": 225297, "of": 1000000}, "225,297 of 1,000,000 (23 %)"),
        ({"at": 0.25, "of": 1, "text": "x"}, "0.25 of 1 (25 %) x"),
        ({"at": 1e21}, "1,000,000,000,000,000,000,000"),
        ({"at": "3", "of": float("nan"), "text": "odd"}, "odd"),
    ],
)
def test_progress_is_written_in_plain_numbers(progress: object, words: str) -> None:
    assert _progress(progress) == words
