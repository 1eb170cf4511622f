"""Hide the secret arguments of a task, such as passwords and tokens.

A secret is a parameter of the function: it is hidden whether given by position or by name. This
module reads the list in ``scheduler_task.secret``, resolves it against the signature of the
function, and replaces values by dots. It never changes the arguments of a task, only what is shown.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.registry import signature_of

HIDDEN = "••••••"
EXAMPLE = '["password", 1]'
NOWHERE = -1  # after a name: the name has no place; after a place: the place has no name

#: The name of an argument, or the place of a positional argument, counted from 0.
Place = str | int

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Mark(NamedTuple):
    """A secret parameter: its name and its place.

    None means unknown. The name ``""`` means that the parameter can be given by place only, the
    place `NOWHERE` that it can be given by name only. In the list, a place after a name is the
    place of that name; any other place is a separate mark.
    """

    name: str | None
    place: int | None

    @property
    def is_whole(self) -> bool:
        return self.name is not None and self.place is not None


def marks(places: Sequence[Place]) -> list[Mark]:
    """Parse a list into secret parameters.

    >>> marks(["password", 1, "token", -1, "key"])[0]
    Mark(name='password', place=1)
    """
    found: list[Mark] = []
    rest = list(places)
    while rest:
        one = rest.pop(0)
        follows = rest[0] if rest and isinstance(rest[0], int) else None
        if isinstance(one, str):
            found.append(Mark(one, follows))
            rest = rest[1:] if follows is not None else rest
        elif one != NOWHERE:
            found.append(Mark("" if follows == NOWHERE else None, one))
            rest = rest[1:] if follows == NOWHERE else rest
    return found


def as_list(found: Iterable[Mark]) -> list[Place]:
    """Return the list of these marks, without names and places that are part of a whole mark."""
    every = list(dict.fromkeys(found))
    names = {one.name for one in every if one.name and one.place not in (None, NOWHERE)}
    places = {one.place for one in every if one.name}
    alone: list[Any] = [one.place for one in every if one.name is None]
    named: list[Any] = [one.name for one in every if one.place is None]
    whole: list[Any] = []
    for one in (one for one in every if one.is_whole):
        whole += [one.name, one.place] if one.name else [one.place, NOWHERE]
    return [
        *(place for place in alone if place not in places),
        *whole,
        *(name for name in named if name not in names),
    ]


def joined(lists: Iterable[Sequence[Place]]) -> list[Place]:
    """Merge the marks of several lists; each place stays the place of its own name."""
    return as_list(mark for places in lists for mark in marks(places))


def listed(given: Any) -> list[Place]:
    """Return names and places as a list, from a list or its JSON; raises `BadTask` otherwise.

    >>> listed('["password", 1]')
    ['password', 1]
    """
    found = given
    if isinstance(given, str):
        try:
            found = json.loads(given) if given.strip() else []
        except (ValueError, RecursionError):
            raise BadTask(_no_list("a text")) from None
    if found is None:
        return []
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        raise BadTask(_no_list(type(found).__name__))
    places = list(found)
    for place in places:
        _check(place)
    return as_list(marks(places))


def _no_list(what: str) -> Sentence:
    return Sentence(
        "must be a list of argument names or positions, such as {example}, not {what}",
        example=EXAMPLE,
        what=what,
    )


def _check(place: Any) -> None:
    if isinstance(place, str) and place:
        return
    if not isinstance(place, int) or isinstance(place, bool):
        what = type(place).__name__  # never the value, which may be the secret itself
        raise BadTask(
            Sentence(
                "contains {what}, which is neither the name nor the position of an argument",
                what=what,
            )
        )
    if place < NOWHERE:
        raise BadTask(Sentence("contains {place}, but positions are counted from 0", place=place))


def resolved(
    secret: Sequence[Place],
    function: Callable[..., Any] | None,
    name: str,
    pargs: Sequence[Any],
    pvars: Mapping[str, Any],
) -> list[Place]:
    """Complete the list with the place of each name and the name of each place.

    A parameter is then hidden whether given by place or by name. Raises `BadTask` for a parameter
    that the function does not have.
    """
    parameters = _parameters(function)
    if parameters is None:
        _check_unknown(secret, name, pargs, pvars)
        return list(secret)
    signature = _Signature(name, parameters)
    found = [each for one in secret for each in signature.marks_of(one, pargs, pvars)]
    return as_list(found)


def _parameters(function: Callable[..., Any] | None) -> list[inspect.Parameter] | None:
    signature = signature_of(function)
    return None if signature is None else list(signature.parameters.values())


def _check_unknown(
    secret: Sequence[Place], function: str, pargs: Sequence[Any], pvars: Mapping[str, Any]
) -> None:
    """Check the list for a function that is not known here: its caller must give the places."""
    unnamed = [one.name for one in marks(secret) if one.place is None and one.name not in pvars]
    if pargs and unnamed:
        raise BadTask(
            Sentence(
                '"{name}" cannot be matched to an argument, because {function} is not known '
                "here: give its position, counted from 0, or pass it by name",
                name=unnamed[0],
                function=function,
            )
        )


class _Signature:
    """The parameters of a function; finds the marks of a name or a place."""

    def __init__(self, function: str, parameters: Sequence[inspect.Parameter]) -> None:
        self._function = function
        self._kinds = {one.name: one.kind for one in parameters}
        self._by_place = [one.name for one in parameters if one.kind in _POSITIONAL]
        self._takes_places = inspect.Parameter.VAR_POSITIONAL in self._kinds.values()
        self._takes_names = inspect.Parameter.VAR_KEYWORD in self._kinds.values()

    def marks_of(
        self, one: Place, pargs: Sequence[Any], pvars: Mapping[str, Any]
    ) -> Iterator[Mark]:
        if isinstance(one, int):
            if one != NOWHERE:
                yield self._of_place(one)
            return
        kind = self._kinds.get(one)
        if kind in _POSITIONAL:
            yield Mark(one, self._by_place.index(one))
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            yield Mark(one, len(self._by_place))
            yield from self._gathered(pargs)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            yield Mark(one, NOWHERE)
            others = (name for name in pvars if self._kinds.get(name) not in _NAMED)
            yield from (Mark(name, NOWHERE) for name in others)
        elif kind is None:
            yield from self._of_other(one, pargs, pvars)
        else:
            yield Mark(one, NOWHERE)

    def _of_place(self, place: int) -> Mark:
        if place < len(self._by_place):
            return Mark(self._by_place[place], place)
        if not self._takes_places:
            raise BadTask(
                Sentence(
                    "contains position {place}, but {function} takes {number} positional "
                    "arguments, counted from 0",
                    place=place,
                    function=self._function,
                    number=len(self._by_place),
                )
            )
        # A wrapper with *args and **kwargs may pass it to a function that has a name for it.
        return Mark(None if self._takes_names else "", place)

    def _of_other(
        self, name: str, pargs: Sequence[Any], pvars: Mapping[str, Any]
    ) -> Iterator[Mark]:
        """Yield marks for a name in ``**kwargs``: a wrapped function may have a place for it."""
        if not self._takes_names:
            raise BadTask(_unknown(name, self._function, list(self._kinds)))
        yield Mark(name, NOWHERE)
        if name not in pvars:
            yield from self._gathered(pargs)

    def _gathered(self, pargs: Sequence[Any]) -> Iterator[Mark]:
        if self._takes_places:
            yield from (Mark("", place) for place in range(len(self._by_place), len(pargs)))


def _unknown(one: str, function: str, names: list[str]) -> Sentence:
    near = difflib.get_close_matches(one, names, 1)
    if near:
        return Sentence(
            '{function} has no argument "{name}"; did you mean "{near}"?',
            function=function,
            name=one,
            near=near[0],
        )
    return Sentence(
        '{function} has no argument "{name}"; it has: {names}',
        function=function,
        name=one,
        names=names or ["-"],
    )


def masked(args: str, pvars: str, secret: Any) -> tuple[str, str]:
    """Return the JSON of both, with dots instead of secret values; the result is valid JSON."""
    if not secret:
        return args, pvars
    by_place, by_name = _read(args, list), _read(pvars, dict)
    places, names = hidden(_believed(secret), by_place, by_name)
    shown = [HIDDEN if place in places else value for place, value in enumerate(by_place)]
    named = {name: HIDDEN if name in names else value for name, value in by_name.items()}
    return json.dumps(shown), json.dumps(named)


def hidden(
    secret: Sequence[Place] | None, pargs: Sequence[Any], pvars: Mapping[str, Any]
) -> tuple[set[int], set[str]]:
    """Return the places and names of the arguments that are not shown.

    If a name without a known place is not among the named arguments, all arguments are hidden. If a
    place without a known name is not among the positional arguments, all named arguments are
    hidden. If ``secret`` is None, which stands for an unreadable list, everything is hidden.
    """
    if secret is None:
        return set(range(len(pargs))), set(pvars)
    found = marks(secret)
    places = {one.place for one in found if one.place is not None}
    names = {one.name for one in found if one.name}
    if any(one.place is None and one.name not in pvars for one in found):
        places, names = set(range(len(pargs))), set(pvars)
    if any(one.name is None and (one.place or 0) >= len(pargs) for one in found):
        names = set(pvars)
    return places, names


def carried(
    task: Mapping[str, Any],
    function: Callable[..., Any] | None,
    pargs: Sequence[Any],
    pvars: Mapping[str, Any],
) -> list[Place]:
    """Return the secret arguments of a call that takes over arguments of ``task``, a row's columns.

    These are the arguments that the task lists as secret, and those hidden in it now. If they do
    not fit the function, every argument is secret.
    """
    own = _believed(task.get("secret"))
    try:
        if own is None:
            raise BadTask(_no_list("a text"))
        places = joined([own, explicit(own, task.get("args"), task.get("vars"))])
        return resolved(places, function, str(task.get("function_name")), pargs, pvars)
    except BadTask:
        return as_list(_marks_at(range(len(pargs)), pvars))


def explicit(secret: Sequence[Place], args: Any, pvars: Any) -> list[Place]:
    """Return each argument that the list hides, by its own place or name."""
    by_place, by_name = _read(args, list), _read(pvars, dict)
    places, names = hidden(secret, by_place, by_name)
    return as_list(_marks_at(places & set(range(len(by_place))), names & by_name.keys()))


def _marks_at(places: Iterable[int], names: Iterable[str]) -> list[Mark]:
    every = [Mark("", place) for place in sorted(places)]
    return [*every, *(Mark(name, NOWHERE) for name in sorted(names))]


def _believed(secret: Any) -> list[Place] | None:
    """Return the list; None for an unreadable one: then everything is secret."""
    try:
        return listed(secret)
    except BadTask:
        return None


def _read(text: str, kind: Any) -> Any:
    """Decode the JSON; return dots for a value that cannot be read."""
    try:
        found = json.loads(text or "null") or kind()
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, kind):
        return found
    return [HIDDEN] if kind is list else {HIDDEN: HIDDEN}


def unmasked(value: Any, before: Any, filled: list[Place] | None = None) -> Any:
    """Replace the dots that a form sent back by the secret values of the task, ``before``.

    The places and names of the dots are added to ``filled``. Raises `BadTask` for dots without a
    value.

    >>> unmasked(["ann", "••••••"], ["bob", "hunter2"])
    ['ann', 'hunter2']
    """
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = {place: _behind(one, place, before) for place, one in pairs}
    if filled is not None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        filled += [place for place, one in items if one == HIDDEN]
    return found if isinstance(value, dict) else list(found.values())


def _behind(value: Any, place: Any, before: Any) -> Any:
    if value != HIDDEN:
        return value
    try:
        behind = before[place]
    except (LookupError, TypeError):
        behind = HIDDEN
    if behind == HIDDEN or behind is inspect.Parameter.empty:
        raise BadTask(Sentence("no value is stored for the dots of {name}: enter one", name=place))
    return behind
