"""A cache of validation results for the columns of the task table.

Remembers from call to call what was accepted by validators that depend only on the value. Does not
write.
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
#: Validators that depend only on the value. (To change one, replace it: a change inside a validator
#: is not detected.)
LASTING = {IS_CRONLINE, IS_DATETIME, IS_GROUP_NAME, IS_INT_IN_RANGE, IS_JSON_OF, IS_LENGTH}
LASTING |= {IS_NOT_EMPTY, IS_SECRET, IS_STORABLE, IS_TEXT, IS_TIME, IS_WHOLE, Validator}

Answer = tuple[Any, Any]


class ColumnValidation:
    """One column, and the results of its validators.

    In py4web, validators belong to one request: the object uses those present at its creation.
    """

    def __init__(self, field: Any) -> None:
        self.field = field
        self._validators = _validators_of(field)
        self._lasts = all(map(_lasts, self._validators))
        self._keeps = all(_lasts(one) or type(one) is IS_KNOWN_FUNCTION for one in self._validators)
        self._known: dict[tuple[type, Any], Answer] = {}

    def holds(self) -> bool:
        """Return True if the results are still valid in another call."""
        return self._lasts and _validators_of(self.field) == self._validators

    def ask(self, value: Any) -> Answer:
        """Return the value to store, or the given value and its error."""
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
        except (ValueError, OverflowError) as error:  # a number too long to convert, say
            return value, Sentence("cannot be read: {why}", why=str(error))

    def ask_but(self, sure: type, value: Any) -> Answer:
        """Do the same as `ask`, without one kind of validator, which is known to accept the
        value."""
        for validator in self._validators:
            if type(validator) is not sure:
                value, error = validator(value, None)
                if error:
                    return value, _said(error)
        return (value if value != self.field.map_none else None), None


class Checks:
    """The validation of all columns of a table."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self._last = {field.name: ColumnValidation(field) for field in table if field.name != "id"}

    def begin(self) -> dict[str, ColumnValidation]:
        """Return the validations for one call, during which validators do not change."""
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
    """Return the error as text; a sentence stays one, so that it can be translated."""
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
