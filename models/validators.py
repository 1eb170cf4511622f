"""What may be put in a field, told in words a person understands.

I own the validators of the tables. I call pydal's, and values. I never write a row, and read one
only to know whether a form sends back what it showed: saving a row unchanged must change nothing,
though browsers cannot tell "" from NULL, and have their own ends of lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from pydal.validators import IS_IN_SET, ValidationError, Validator

from plugin_scheduler import secrecy, values
from plugin_scheduler.errors import BadTask

EXAMPLES: dict[type, str] = {list: '[1, "two"]', dict: '{"a": 1, "b": "two"}'}
NAME_LENGTH = 512  # characters in a column of names, by pydal's default
NAMES: dict[type, str] = {list: "list", dict: "dict"}


class Stored:
    """What a column of a row holds now; nothing for a row that is not there yet."""

    def __init__(self, db: Any, table: str, column: str) -> None:
        self._db, self._table, self._column = db, table, column

    def __call__(self, record_id: Any) -> Any:
        row_id = getattr(record_id, "id", record_id)
        if not row_id:
            return None
        table = self._db[self._table]
        rows = self._db(table.id == row_id, ignore_common_filters=True)
        row = rows.select(table[self._column]).first()
        return row[self._column] if row else None

    def is_shown_by(self, value: Any, record_id: Any) -> bool:
        """True where ``value`` is what a form makes of the column of that row."""
        return bool(record_id) and _shown(value) == _shown(self(record_id))


def _shown(value: Any) -> str:
    """The part of a text that survives every kind of form field."""
    return "".join(str(value or "").splitlines())


class IS_TEXT(Validator):
    """Any text; kept as it is stored where a form only sends back what it showed."""

    def __init__(self, stored: Stored, longest: int | None = None) -> None:
        self.stored, self.longest = stored, longest

    def validate(self, value: Any, record_id: Any = None) -> Any:
        if self.stored.is_shown_by(value, record_id):
            return self.stored(record_id)
        text = value.replace("\r\n", "\n") if isinstance(value, str) else value
        _check_length(text, self.longest)
        return text


def _check_length(value: Any, longest: int | None) -> None:
    length = len(str(value or ""))
    if longest is not None and length > longest:
        raise ValidationError(f"is {length} characters long, and may have {longest}")


class IS_JSON_OF(Validator):
    """A text that is JSON of one kind: a list for ``args``, a dict for ``vars``.

    >>> IS_JSON_OF(list)('[1, 2]')
    ('[1, 2]', None)
    """

    def __init__(self, kind: type, stored: Stored | None = None) -> None:
        self.kind, self.stored = kind, stored

    def validate(self, value: Any, record_id: Any = None) -> Any:
        if self.stored and self.stored.is_shown_by(value, record_id):
            return self.stored(record_id)
        expected = f"a JSON {NAMES[self.kind]} such as {EXAMPLES[self.kind]}"
        try:
            text = value if isinstance(value, str) else values.encode(value, "it")
            found = json.loads(text)
        except BadTask as error:
            raise ValidationError(str(error)) from None
        except ValueError as error:
            raise ValidationError(f"is not {expected}: {error}") from None
        if not isinstance(found, self.kind):
            kind = NAMES.get(type(found), type(found).__name__)
            raise ValidationError(f"is not {expected}, but a {kind}")
        return text


class IS_SECRET(Validator):
    """Names and places of arguments that nobody is shown: a list, or JSON of one.

    >>> IS_SECRET()(["password", 1])
    ('["password", 1]', None)
    """

    def validate(self, value: Any, record_id: Any = None) -> str | None:
        try:
            places = secrecy.listed(value)
        except BadTask as error:
            raise ValidationError(error.args[0]) from None
        return json.dumps(places) if places else None


class IS_KNOWN_FUNCTION(IS_IN_SET):
    """One of the names that the app meant as tasks; looked up when asked, not when defined.

    Models define functions before and after they make the scheduler, so a fixed list would be
    too short. Where nothing is known (a program that only queues) any name is taken. A form shows
    a blank for a function that the app has no more; a task that is saved so keeps its function.
    """

    def __init__(self, names: Callable[[], Iterable[str]], stored: Stored | None = None) -> None:
        self.names, self.stored = names, stored
        super().__init__(lambda: sorted(names()), zero="")

    def validate(self, value: Any, record_id: Any = None) -> str:
        known = sorted(self.names())
        name = str(value or "").strip()
        kept = self.stored(record_id) if self.stored else None
        if kept and name in ("", kept):
            return str(kept)
        if not name:
            raise ValidationError("name the function to run")
        if known and name not in known:
            raise ValidationError(f"{name!r} is not a task; known: {', '.join(known)}")
        return name


class IS_GROUP_NAME(IS_IN_SET):
    """A group: known ones are offered, others are taken too, since a worker for it may come."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        super().__init__(lambda: sorted(set(names())), zero=None)

    def validate(self, value: Any, record_id: Any = None) -> str:
        if value is not None and not isinstance(value, str):
            raise ValidationError(f"must be the name of a group, not a {type(value).__name__}")
        name = (value or "").strip()
        if not name:
            raise ValidationError("name a group; the usual one is 'main'")
        _check_length(name, NAME_LENGTH)
        return name


class IS_GROUP_NAMES(Validator):
    """The groups of a worker: a list, JSON of one, or names with commas between them."""

    def validate(self, value: Any, record_id: Any = None) -> list[str]:
        names = value or []
        if isinstance(names, str):
            try:
                names = json.loads(names) if names.startswith("[") else names.split(",")
            except ValueError as error:
                message = f'is not a list of groups such as ["main", "mail"]: {error}'
                raise ValidationError(message) from None
        return [name for name in (str(name).strip() for name in names) if name]

    def formatter(self, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list) else value
