"""Read times from text: the one place that knows the accepted forms."""

from __future__ import annotations

from datetime import datetime


def read_time(text: str) -> datetime:
    """Return a time from ISO 8601 text, with its UTC offset if the text has one.

    Raises ``ValueError`` for any other text. Python 3.10 does not parse Z by itself.

    >>> read_time("2026-12-31 23:00"), read_time("2026-12-31T23:00Z").utcoffset()
    (datetime.datetime(2026, 12, 31, 23, 0), datetime.timedelta(0))
    """
    text = text.strip()
    return datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
