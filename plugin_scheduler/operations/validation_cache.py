"""Is a value fit for its column? Asked again only where the answer may be another one.

I own what the validators of the task table said: what those accepted that go by the value alone is
remembered from call to call. I call them and the table. I write nothing.
"""

from __future__ import annotations

from typing import Any

from pydal.validators import (
    IS_DATETIME,
    IS_EMPTY_OR,
    IS_IN_SET,
    IS_INT_IN_RANGE,
    IS_LENGTH,
    IS_NOT_EMPTY,
    DefaultValidatorProxy,
    Validator,
)

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.models.validators import (
    IS_GROUP_NAME,
    IS_JSON_OF,
    IS_KNOWN_FUNCTION,
    IS_SECRET,
    IS_STORABLE,
    IS_TEXT,
    IS_TIME,
    IS_WHOLE,
)
from plugin_scheduler.scheduling.cron import IS_CRONLINE

KEPT = 1000  # values of one column
SHORT = 64  # characters
PLAIN = frozenset((bool, int, str, type(None)))
#: They go by nothing but the value. (To be heard of, another one is put in their place: what was
#: changed inside of one is not seen.)
LASTING = {IS_CRONLINE, IS_DATETIME, IS_GROUP_NAME, IS_INT_IN_RANGE, IS_JSON_OF, IS_LENGTH}
LASTING |= {IS_NOT_EMPTY, IS_SECRET, IS_STORABLE, IS_TEXT, IS_TIME, IS_WHOLE, Validator}

Answer = tuple[Any, Any]


class ColumnValidation:
    """One column, and what its validators said. In py4web they are a request's own: this is about
    those that were there when it was made."""

    def __init__(self, field: Any) -> None:
        self.field = field
        self._validators = _validators_of(field)
        self._lasts = all(map(_lasts, self._validators))
        self._keeps = all(_lasts(one) or type(one) is IS_KNOWN_FUNCTION for one in self._validators)
        self._known: dict[tuple[type, Any], Answer] = {}

    def holds(self) -> bool:
        """Is it still good in another call?"""
        return self._lasts and _validators_of(self.field) == self._validators

    def ask(self, value: Any) -> Answer:
        """The value as it is to be stored, or as it was given and what is wrong with it."""
        kind = type(value)
        if not self._keeps or kind not in PLAIN or (kind is str and len(value) > SHORT):
            return self._validate(value)
        known, key = self._known, (kind, value)
        try:
            return known[key]
        except KeyError:
            answer = self._validate(value)
            if answer[1] is None:
                if len(known) >= KEPT:
                    known.clear()
                known[key] = answer
            return answer

    def _validate(self, value: Any) -> Answer:
        try:
            return _answer(self.field.validate(value))
        except (ValueError, OverflowError) as error:  # a number that Python writes no text of, say
            return value, Sentence("cannot be read: {why}", why=str(error))

    def ask_but(self, sure: type, value: Any) -> Answer:
        """As `ask`, where what one kind of validator would say is known: it takes the value."""
        for validator in self._validators:
            if type(validator) is not sure:
                value, error = validator(value, None)
                if error:
                    return value, _said(error)
        return (value if value != self.field.map_none else None), None


class Checks:
    """All columns of one table."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self._last = {field.name: ColumnValidation(field) for field in table if field.name != "id"}

    def begin(self) -> dict[str, ColumnValidation]:
        """The checks of one call, in which nobody changes validators."""
        checks = {
            name: check if check.holds() else ColumnValidation(check.field)
            for name, check in self._last.items()
        }
        self._last = checks
        return checks


def _answer(answer: Answer) -> Answer:
    value, error = answer
    return value, _said(error) if error else None


def _said(error: Any) -> str:
    """As text; a sentence stays one, so that it can be said in the reader's language."""
    return error if isinstance(error, Sentence) else str(error)


def _validators_of(field: Any) -> tuple[Any, ...]:
    requires = field.requires
    if isinstance(requires, (list, tuple)):
        return tuple(requires)
    return (requires,) if callable(requires) else ()


def _lasts(validator: Any) -> bool:
    kind = type(validator)
    if kind is DefaultValidatorProxy:
        return _lasts(validator.obj)
    if kind is IS_EMPTY_OR:
        others = validator.other
        return all(map(_lasts, others if isinstance(others, (list, tuple)) else [others]))
    if kind is IS_IN_SET:
        return isinstance(validator.theset, (list, tuple)) and not validator.multiple
    return kind in LASTING
