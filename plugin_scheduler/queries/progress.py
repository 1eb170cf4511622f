"""The progress of a run, and its remaining time.

Progress comes from `progress()`, or from the last line of the output if that is a percentage
(web2py's ``!clear!50%``) or a progress bar of tqdm or a similar library. Does not access the
database or the clock: the caller passes the row and the time.
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core.i18n import Sentence

TAIL = 2000  # characters at the end of an output that are examined
WIDEST = 400  # characters of a line
LONGEST = 120  # characters of a bar's text
#: Control sequences of terminals: colours, cursor moves, titles, links.
ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\|$)"
    r"|[PX^_][^\x1b]*(?:\x1b\\|$)"
    r"|[ -/]*[0-~])"
)
_NUMBER = r"(?P<percent>\d{1,3}(?:\.\d+)?) ?%"
_TQDM = re.compile(
    rf"(?:(?P<words>.*?): )? *{_NUMBER}\|.*\| *(?P<count>[^ |/]+/[^ |]+) "
    r"\[[\d:]+<(?P<left>[\d:?]{1,16})(?:, *(?P<pace>[^\]]*))?\]"
)
_ENDLESS = re.compile(r"(?:.*?: )?\d\S* \[[\d:]+, [^\]]*\]")  # a bar without a known end
_PERCENT = re.compile(_NUMBER)
_BAR = re.compile(r"[\[|(]? ?[█▓▒░━╸╺■#=>▏▎▍▌▋▊▉-]{3,}")


@dataclass(frozen=True)
class ProgressView:
    """``share`` is from 0 to 1, ``left`` in seconds; None if unknown."""

    share: float | None = None
    words: str = ""
    left: float | None = None

    def __bool__(self) -> bool:
        return self.share is not None or bool(self.words)


def headway(
    progress: Any, output: str, started: datetime | None, now: datetime | None
) -> ProgressView:
    """Return the progress of a run, from its row's ``progress`` and the end of its output.

    >>> headway({"at": 3, "of": 12, "text": "third picture"}, "", started, started + minute)
    ProgressView(share=0.25, words='third picture (3 of 12)', left=180.0)
    >>> headway(None, "resize:  45%|████▌     | 45/100 [00:03<00:04, 13.1it/s]", started, now)
    ProgressView(share=0.45, words='resize (45/100, 13.1it/s)', left=4.0)
    """
    spent = (now - started).total_seconds() if now and started else 0.0
    if isinstance(progress, dict):
        return _told(progress, spent)
    return _printed(last_line(output), spent)


def last_line(output: str) -> str:
    """Return the last nonempty line that a terminal would show."""
    text = ESCAPES.sub("", output[-TAIL:])
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    return next((line[:WIDEST] for line in reversed(lines) if line), "")


def _told(progress: dict[str, Any], spent: float) -> ProgressView:
    at, of = as_number(progress.get("at")), as_number(progress.get("of"))
    text = str(progress.get("text") or "")
    if at is None:
        return ProgressView(words=text)
    values = {"text": text, "at": plain_number(at), "of": plain_number(of or 0)}
    if not of or of <= 0:
        return ProgressView(words=Sentence("{text} ({at})" if text else "{at}", **values))
    template = "{text} ({at} of {of})" if text else "{at} of {of}"
    share = min(1.0, max(0.0, at / of))
    return ProgressView(share, Sentence(template, **values), _left(share, spent))


def _printed(line: str, spent: float) -> ProgressView:
    if found := _TQDM.match(line):
        words = _joined(found["words"], found["count"], found["pace"])
        return ProgressView(_share(found["percent"]), words, _seconds(found["left"]))
    if _ENDLESS.match(line):
        return ProgressView(words=line[:LONGEST])
    found, bar = _PERCENT.search(line), _BAR.search(line)
    if found and (bar or not found.start()):  # "disk is 93% full" is not progress
        share = _share(found["percent"])
        words = line[: bar.start()] if bar and found.start() else line[found.end() :]
        if share is not None:
            return ProgressView(share, words.strip(" :.|-[(")[:LONGEST], _left(share, spent))
    return ProgressView()


def _joined(words: str | None, *facts: str | None) -> str:
    inside = ", ".join(fact for fact in facts if fact and "?" not in fact)
    return f"{words} ({inside})"[:LONGEST] if words and inside else (words or inside)[:LONGEST]


def _share(percent: str) -> float | None:
    value = float(percent) / 100
    return value if value <= 1 else None


def _left(share: float, spent: float) -> float | None:
    """Estimate the remaining seconds from the time spent; unreliable in the beginning."""
    if share >= 1:
        return 0.0
    return spent * (1 - share) / share if share > 0 and spent > 0 else None


def _seconds(clock: str) -> float | None:
    """Parse ``01:02:03`` into seconds; None for ``?``, which a bar shows if it does not know."""
    if "?" in clock:
        return None
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)


def as_number(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    with contextlib.suppress(OverflowError):  # an integer too large for a float
        return float(value) if is_number and math.isfinite(value) else None
    return None


def plain_number(number: float) -> str:
    """Format a number for people: ``225,297`` and ``0.25``, never ``1e+06``."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"
