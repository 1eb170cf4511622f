"""What may be put in a field, told in words a person understands.

I own the validators of the tables. I call pydal's. I never read or write a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from pydal.validators import IS_IN_SET, ValidationError, Validator

EXAMPLES = {list: '[1, "two"]', dict: '{"a": 1, "b": "two"}'}
NAMES = {list: "list", dict: "dict"}


class IS_JSON_OF(Validator):
    """A text that is JSON of one kind: a list for ``args``, a dict for ``vars``.

    >>> IS_JSON_OF(list)('[1, 2]')
    ('[1, 2]', None)
    """

    def __init__(self, kind: type, error_message: str | None = None) -> None:
        self.kind = kind
        self.error_message = error_message

    def validate(self, value: Any, record_id: Any = None) -> str:
        expected = f"a JSON {NAMES[self.kind]} such as {EXAMPLES[self.kind]}"
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ValidationError(self.error_message or f"is not {expected}: {error}") from None
        if not isinstance(found, self.kind):
            kind = {list: "list", dict: "dict"}.get(type(found), type(found).__name__)
            raise ValidationError(self.error_message or f"is not {expected}, but a {kind}")
        return text


class IS_KNOWN_FUNCTION(IS_IN_SET):
    """One of the names that the app meant as tasks; looked up when asked, not when defined.

    Models define functions before and after they make the scheduler, so a fixed list would be
    too short. Where nothing is known (a program that only queues) any name is taken.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self.names = names
        super().__init__(lambda: sorted(names()), zero=None)

    def validate(self, value: Any, record_id: Any = None) -> str:
        known = sorted(self.names())
        name = str(value or "").strip()
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
        name = str(value or "").strip()
        if not name:
            raise ValidationError("name a group; the usual one is 'main'")
        return name
