"""How do values look in a page? Times, spans, badges, sentences in the reader's language.

I own the helpers that every template has. I am handed a translator and the zone of the tables. I
never trust a text: what I give is escaped by the template, or built of escaped parts.
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

#: Look of a status: its colour has a meaning, the word is always there, too.
TONES = {
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


#: Outcomes of runs that are no statuses of tasks.
MEANINGS = {
    Outcome.DIED: Sentence("its own process died"),
    Outcome.LOST: Sentence("its worker died"),
    Outcome.INTERRUPTED: Sentence("its worker left, or lost its lease; it runs again"),
}
NOTHING = "\u2013"  # a dash


class Shown:
    """The helpers of one request."""

    def __init__(self, translator: Any, route: str, zone: str | None) -> None:
        self._translator, self._route, self.zone = translator, route, zone

    def T(self, text: str, /, **values: Any) -> str:
        """Our own words in the reader's language; values are filled in, and never translated."""
        return self._template(text, values.get("n", 1)).format(**values)

    def say(self, sentence: str) -> str:
        """A sentence of the engine in the reader's language; any other text as it is."""
        if isinstance(sentence, Sentence):
            return sentence.said(self._template)
        return str(sentence)

    def word(self, text: str) -> str:
        """A word that is stored (what somebody did), in the reader's language where we know it."""
        return self._template(text) if text in (self._translator.local.language or {}) else text

    def _template(self, template: str, number: float = 1) -> str:
        """In the reader's language, in the form for that number. The translator could fill it in,
        too, but would look for holes in the values as well."""
        local = self._translator.local
        forms = (local.language or {}).get(template)
        if not forms:
            if local.tag != "en":
                self._translator.missing.add(template)
            return template
        fitting = [form for form in map(int, forms) if form <= number] or [min(map(int, forms))]
        return str(forms[str(max(fitting))])

    def url(self, path: str = "", **query: Any) -> str:
        """The address of one of our pages."""
        given = {name: value for name, value in query.items() if value not in (None, "", [], ())}
        return str(URL(f"{self._route}/{path}".rstrip("/"), vars=given))

    def static(self, name: str) -> str:
        """The address of a file of ours; another one when it changes, since browsers keep them."""
        return str(URL(f"{self._route}/static/{name}", vars={"v": _version(name)}))

    def iso(self, moment: datetime | None) -> str | None:
        """A time of the tables as an instant that every browser understands."""
        if moment is None:
            return None
        return clock.instant(moment, self.zone).isoformat(timespec="seconds")

    def when(self, moment: datetime | None, empty: str = NOTHING) -> Any:
        """A time; the browser shows it in its reader's zone, with the exact instant on hover."""
        if moment is None:
            return SPAN(empty, _class="none")
        text = f"{moment:%Y-%m-%d %H:%M:%S}"
        return TAG.time(text, _datetime=self.iso(moment), _class="when")

    def span(self, seconds: float | None) -> str:
        """A length of time in words."""
        return NOTHING if seconds is None else self.say(views.span(seconds))

    def badge(self, status: str) -> Any:
        """A status or an outcome, with a colour for its meaning; a rare word is told on hover."""
        meaning = {"_title": self.say(MEANINGS[status])} if status in MEANINGS else {}
        return SPAN(status, _class=f"badge {TONES.get(status, 'calm')}", **meaning)

    def count(self, number: int, cap: int | None = None) -> str:
        """A number with separators; with a plus sign where it is a cap that was reached."""
        return f"{number:,}+" if cap is not None and number >= cap else f"{number:,}"

    def data(self, value: Any) -> Any:
        """A value for scripts, in a block that is data and never code."""
        text = json.dumps(value, default=str)
        for char in "<>&\u2028\u2029":
            text = text.replace(char, f"\\u{ord(char):04x}")
        return XML(text)

    def all(self) -> dict[str, Callable[..., Any]]:
        """By the names that templates know."""
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
    """Something that is different after an upgrade."""
    return f"{(STATIC / name).stat().st_mtime:.0f}"
