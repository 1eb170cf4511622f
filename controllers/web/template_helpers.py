"""Helpers of the templates: times, durations, badges, and sentences in the reader's language.

All text is untrusted: results are escaped by the template, or built of escaped parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from plugin_scheduler.views import STATIC
from py4web import URL
from yatl.helpers import SPAN, TAG, XML

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import Outcome, TaskStatus, WorkerStatus
from plugin_scheduler.queries import views
from plugin_scheduler.system import clock

#: The style of a status: its colour has a meaning, but the word is always shown, too.
TONES: dict[str, str] = {
    TaskStatus.QUEUED: "calm",
    TaskStatus.ASSIGNED: "busy",
    TaskStatus.RUNNING: "busy",
    TaskStatus.COMPLETED: "good",
    TaskStatus.FAILED: "bad",
    TaskStatus.TIMEOUT: "bad",
    TaskStatus.STOPPED: "warn",
    TaskStatus.EXPIRED: "warn",
    Outcome.DIED: "bad",
    Outcome.LOST: "bad",
    Outcome.INTERRUPTED: "warn",
    WorkerStatus.ACTIVE: "good",
    WorkerStatus.DISABLED: "warn",
}


#: Outcomes of runs that are not statuses of tasks.
MEANINGS: dict[str, Sentence] = {
    Outcome.DIED: Sentence("its process died"),
    Outcome.LOST: Sentence("its worker died"),
    Outcome.INTERRUPTED: Sentence("its worker stopped or lost its lease; the task runs again"),
}
NOTHING = "\u2013"  # a dash


class Shown:
    """The helpers of one request."""

    def __init__(self, translator: Any, route: str, zone: str | None) -> None:
        self._translator, self._route, self.zone = translator, route, zone

    def T(self, text: str, /, **values: Any) -> str:
        """Return an own text in the reader's language; values are inserted, and never
        translated."""
        return self._template(text, values.get("n", 1)).format(**values)

    def say(self, sentence: str) -> str:
        """Return a sentence of the engine in the reader's language; any other text unchanged."""
        if isinstance(sentence, Sentence):
            return sentence.said(self._template)
        return str(sentence)

    def word(self, text: str) -> str:
        """Return a stored word (such as an action) in the reader's language, if a translation
        exists."""
        return self._template(text) if text in (self._translator.local.language or {}) else text

    def _template(self, template: str, number: float = 1) -> str:
        """Return the template in the reader's language, in the plural form for that number.

        The translator could insert the values, too, but would search them for placeholders.
        """
        local = self._translator.local
        forms = (local.language or {}).get(template)
        if not forms:
            if local.tag != "en":
                self._translator.missing.add(template)
            return template
        fitting = [form for form in map(int, forms) if form <= number] or [min(map(int, forms))]
        return str(forms[str(max(fitting))])

    def url(self, path: str = "", **query: Any) -> str:
        """Return the address of a page."""
        given = {name: value for name, value in query.items() if value not in (None, "", [], ())}
        return str(URL(f"{self._route}/{path}".rstrip("/"), vars=given))

    def static(self, name: str) -> str:
        """Return the address of a static file; it changes with the file, because browsers
        cache it."""
        return str(URL(f"{self._route}/static/{name}", vars={"v": _version(name)}))

    def iso(self, moment: datetime | None) -> str | None:
        """Return a time of the tables as an instant that every browser understands."""
        if moment is None:
            return None
        return clock.instant(moment, self.zone).isoformat(timespec="seconds")

    def when(self, moment: datetime | None, empty: str = NOTHING) -> Any:
        """Return a time; the browser shows it in the reader's zone, with the exact instant on
        hover."""
        if moment is None:
            return SPAN(empty, _class="none")
        text = f"{moment:%Y-%m-%d %H:%M:%S}"
        return TAG.time(text, _datetime=self.iso(moment), _class="when")

    def span(self, seconds: float | None) -> str:
        """Return a duration in words."""
        return NOTHING if seconds is None else self.say(views.span(seconds))

    def badge(self, status: str) -> Any:
        """Return a status or an outcome, coloured by meaning; a rare word is explained on hover."""
        meaning = {"_title": self.say(MEANINGS[status])} if status in MEANINGS else {}
        return SPAN(status, _class=f"badge {TONES.get(status, 'calm')}", **meaning)

    def count(self, number: int, cap: int | None = None) -> str:
        """Return a number with separators; with a plus sign if it has reached its cap."""
        return f"{number:,}+" if cap is not None and number >= cap else f"{number:,}"

    def data(self, value: Any) -> Any:
        """Return a value for scripts, in a block that is data and never code."""
        text = json.dumps(value, default=str)
        for char in "<>&\u2028\u2029":
            text = text.replace(char, f"\\u{ord(char):04x}")
        return XML(text)

    def all(self) -> dict[str, Callable[..., Any]]:
        """Return the helpers by the names that templates use."""
        names = (
            "T",
            "say",
            "word",
            "url",
            "static",
            "when",
            "span",
            "badge",
            "count",
            "iso",
            "data",
        )
        return {name: getattr(self, name) for name in names}


@lru_cache
def _version(name: str) -> str:
    """Return a value that changes with each upgrade."""
    return f"{(STATIC / name).stat().st_mtime:.0f}"
