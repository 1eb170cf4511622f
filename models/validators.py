"""Validators of the tables' fields, with readable error messages.

A validator reads a row only to find out whether a form sends back the value that it showed. Saving
an unchanged row must change nothing, although browsers cannot distinguish "" from NULL, and change
line endings. Does not write rows.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from pydal.validators import (
    IS_DATETIME,
    IS_IN_SET,
    IS_INT_IN_RANGE,
    ValidationError,
    Validator,
)

from plugin_scheduler.core import json_codec, redaction
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.settings import fault_of_group

EXAMPLES: dict[type, str] = {list: '[1, "two"]', dict: '{"a": 1, "b": "two"}'}
NAME_LENGTH = 512  # characters in a column of names, by pydal's default
NAMES: dict[type, str] = {list: "list", dict: "dict"}
IS_THERE = Sentence("is the uuid of an existing task")
LARGEST = 2**31 - 1  # the largest integer that every database accepts
FIRST_YEAR, LAST_YEAR = 1000, 9999  # the first year of MySQL, the last of Python
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,15}\s*")


class Stored:
    """The current value of a column of a row; None for a new row."""

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
        """Return True if ``value`` is what a form shows for the column of that row."""
        return bool(record_id) and _shown(value) == _shown(self(record_id))


def _shown(value: Any) -> str:
    """Return the part of a text that every kind of form field preserves."""
    return "".join(str(value or "").splitlines())


class IS_TEXT(Validator):
    """Accepts any text; keeps the stored value if a form only sends back what it showed."""

    def __init__(self, stored: Stored, longest: int | None = None) -> None:
        self.stored, self.longest = stored, longest

    def validate(self, value: Any, record_id: Any = None) -> Any:
        if self.stored.is_shown_by(value, record_id):
            return self.stored(record_id)
        if value is None:
            return None
        return check_text(value, self.longest).replace("\r\n", "\n")


class IS_STORABLE(Validator):
    """Accepts a text that every database can store."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def validate(self, value: Any, record_id: Any = None) -> str:
        return check_text(value, self.longest)


def check_text(value: Any, longest: int | None) -> str:
    """Return a value as text; raise ``ValidationError`` if not every database can store it."""
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        raise ValidationError(Sentence("must be a text, not a {kind}", kind=type(value).__name__))
    try:
        text = str(value)
    except ValueError:  # Python limits the number of digits
        raise ValidationError(Sentence("is a number with too many digits")) from None
    if longest is not None and len(text) > longest:
        what = "is {length} characters long; the maximum is {longest}"
        raise ValidationError(Sentence(what, length=len(text), longest=longest))
    flaw = json_codec.flaw_of(text)
    if flaw is not None:
        raise ValidationError(flaw)
    return text


class IS_WHOLE(IS_INT_IN_RANGE):
    """Accepts an integer from ``least`` to ``most``, inclusive, that every database can store.

    >>> IS_WHOLE(1)("60"), IS_WHOLE(1)(2**31)[1]
    ((60, None), 'must be a whole number from 1 to 2147483647')
    """

    def __init__(self, least: int, most: int = LARGEST) -> None:
        what = "must be a whole number from {least} to {most}"
        super().__init__(least, most + 1, Sentence(what, least=least, most=most))

    def validate(self, value: Any, record_id: Any = None) -> int:
        number = _whole(value)
        if number is None or not self.minimum <= number < self.maximum:
            raise ValidationError(self.error_message)
        return number


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


class IS_TIME(IS_DATETIME):
    """Accepts a date with a time that every database can store."""

    def validate(self, value: Any, record_id: Any = None) -> datetime:
        try:
            moment: datetime = super().validate(value, record_id)
        except ValidationError:  # pydal's message is English, with formats such as %Y
            what = "must be a date with a time, such as 2026-12-31T23:00"
            raise ValidationError(Sentence(what)) from None
        if moment.year < FIRST_YEAR:
            what = "must be in the years {first} to {last}"
            raise ValidationError(Sentence(what, first=FIRST_YEAR, last=LAST_YEAR))
        return moment


class IS_JSON_OF(Validator):
    """Accepts JSON text of one kind: a list for ``args``, a dict for ``vars``.

    >>> IS_JSON_OF(list)('[1, 2]')
    ('[1, 2]', None)
    """

    def __init__(self, kind: type, stored: Stored | None = None) -> None:
        self.kind, self.stored = kind, stored

    def validate(self, value: Any, record_id: Any = None) -> Any:
        if self.stored and self.stored.is_shown_by(value, record_id):
            return self.stored(record_id)
        expected = {"kind": NAMES[self.kind], "example": EXAMPLES[self.kind]}
        try:
            text = value if isinstance(value, str) else json_codec.encode(value, "it")
            found = json_codec.from_json(text)
        except BadTask as error:
            raise ValidationError(error.args[0]) from None
        except ValueError as error:
            what = "must be a JSON {kind} such as {example}: {why}"
            raise ValidationError(Sentence(what, why=str(error), **expected)) from None
        if not isinstance(found, self.kind):
            kind = NAMES.get(type(found), type(found).__name__)
            what = "must be a JSON {kind} such as {example}, not a {found}"
            raise ValidationError(Sentence(what, found=kind, **expected))
        return check_text(text, None)


class IS_SECRET(Validator):
    """Accepts names and places of secret arguments: a list, or its JSON.

    >>> IS_SECRET()(["password", 1])
    ('["password", 1]', None)
    """

    def validate(self, value: Any, record_id: Any = None) -> str | None:
        try:
            places = redaction.listed(value)
        except BadTask as error:
            raise ValidationError(error.args[0]) from None
        return json.dumps(places) if places else None


class IS_KNOWN_FUNCTION(IS_IN_SET):
    """Accepts the name of a task of the app; names are looked up at validation.

    Models define functions before and after they create the scheduler, so a fixed list would be
    incomplete. Without any known names (in a program that only queues tasks), any name is accepted.
    A form shows a blank for a function that the app no longer has; saving it keeps the function.
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
            raise ValidationError(Sentence("must name the function to run"))
        if known and name not in known:
            what = "{name} is not a task of this app; known tasks: {known}"
            raise ValidationError(Sentence(what, name=repr(name), known=known))
        return check_text(name, NAME_LENGTH)


class IS_GROUP_NAME(IS_IN_SET):
    """Accepts the name of a group; offers the known ones, but a worker may be added for others."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        super().__init__(lambda: sorted(set(names())), zero=None)

    def validate(self, value: Any, record_id: Any = None) -> str:
        if value is not None and not isinstance(value, str):
            what = "must be the name of a group, not a {kind}"
            raise ValidationError(Sentence(what, kind=type(value).__name__))
        name = (value or "").strip()
        if not name:
            raise ValidationError(Sentence("must not be empty; the default is 'main'"))
        check_text(name, NAME_LENGTH)
        fault = fault_of_group(name)
        if fault is not None:
            raise ValidationError(fault)
        return name


class IS_GROUP_NAMES(Validator):
    """Accepts the groups of a worker: a list, its JSON, or comma-separated names."""

    def validate(self, value: Any, record_id: Any = None) -> list[str]:
        names = value or []
        if isinstance(names, str):
            try:
                names = json.loads(names) if names.startswith("[") else names.split(",")
            except ValueError as error:
                message = f'must be a list of groups such as ["main", "mail"]: {error}'
                raise ValidationError(message) from None
        return [name for name in (str(name).strip() for name in names) if name]

    def formatter(self, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list) else value
