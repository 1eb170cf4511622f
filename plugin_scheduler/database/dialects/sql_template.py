"""Statement templates: SQL that pydal builds once, executed many times with other values.

pydal takes ten times as long to build a statement as SQLite takes to execute it. So statements of
the hot path are built once, with placeholders instead of values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

_PLACEHOLDER = re.compile(r"'<<(\w+)>>'|'1900-01-01 00:00:(\d\d)'|\b730000(\d\d)\b")
_FIRST_NUMBER, _FIRST_TIME = 73_000_000, datetime(1900, 1, 1)


class Placeholders:
    """Placeholders for values while a statement is built: values that do not occur otherwise."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def text(self, name: str) -> str:
        return f"<<{name}>>"

    def time(self, name: str) -> datetime:
        return _FIRST_TIME.replace(second=self._place(name))

    def number(self, name: str) -> int:
        return _FIRST_NUMBER + self._place(name)

    def numbers(self, name: str) -> list[int]:
        """Return a placeholder for a list of numbers."""
        return [self.number(name)]

    def _place(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def parts(self, sql: str) -> list[str]:
        """Split SQL into alternating texts and placeholder names; first and last are texts."""
        parts, at = [], 0
        for found in _PLACEHOLDER.finditer(sql):
            text, time, number = found.groups()
            parts += [sql[at : found.start()], text or self._names[int(time or number)]]
            at = found.end()
        return [*parts, sql[at:]]


class Statement:
    """A statement template."""

    def __init__(self, sql: str, placeholders: Placeholders, mark: str) -> None:
        """``mark`` is the driver's placeholder for a value: ? or %s."""
        parts = placeholders.parts(sql.rstrip("; "))
        self._texts, self._names, self._mark = parts[::2], parts[1::2], mark

    def filled(self, values: Mapping[str, Any]) -> tuple[str, list[Any] | None]:
        """Return SQL and values for the driver.

        Numbers become part of the SQL; times are formatted as in pydal.

        >>> placeholder = Placeholders()
        >>> sql = f"who = '{placeholder.text('name')}' AND id IN ({placeholder.number('ids')})"
        >>> Statement(sql, placeholder, "?").filled({"name": "O'Hara", "ids": [3, 4]})
        ('who = ? AND id IN (3,4)', ["O'Hara"])
        """
        given = [
            str(value)[:19] if isinstance(value, datetime) else value
            for value in map(values.__getitem__, self._names)
            if isinstance(value, (str, datetime))
        ]
        doubled = self._mark == "%s" and given  # with values, the driver interprets %
        texts = [text.replace("%", "%%") for text in self._texts] if doubled else self._texts
        words = [texts[0]]
        for name, text in zip(self._names, texts[1:], strict=True):
            value = values[name]
            words += (self._mark if isinstance(value, (str, datetime)) else listed(value), text)
        return "".join(words), given or None


def listed(numbers: int | Collection[int]) -> str:
    """Return integers as an SQL list; for an empty list "0", an id that no row has."""
    some = numbers if isinstance(numbers, Collection) else [numbers]
    return ",".join(map(str, map(int, some))) or "0"
