"""Which arguments of a task is nobody shown? Passwords, tokens, whatever `secret` names.

I own the list in ``scheduler_task.secret``, how names become places, and the dots. I call values
and sentences. I never change what a task is given: only what is shown of it.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from plugin_scheduler.errors import BadTask
from plugin_scheduler.sentences import Sentence

HIDDEN = "••••••"
EXAMPLE = '["password", 1]'
NOWHERE = -1  # the place of what is given by name alone

#: A name, or the place of a positional argument, counted from 0.
Place = str | int

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def listed(given: Any) -> list[Place]:
    """Names and places as a list, from one or from its JSON; BadTask where it is none.

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
        raise BadTask(_no_list(f"{type(found).__name__} {found!r}"))
    places = list(found)
    for place in places:
        _check(place)
    return list(dict.fromkeys(places))


def _no_list(what: str) -> Sentence:
    return Sentence(
        "must be a list of names or places of arguments, such as {example}, not {what}",
        example=EXAMPLE,
        what=what,
    )


def _check(place: Any) -> None:
    if isinstance(place, str) and place:
        return
    if not isinstance(place, int) or isinstance(place, bool):
        raise BadTask(
            Sentence("has {what}, neither the name nor the place of an argument", what=repr(place))
        )
    if place < NOWHERE:
        raise BadTask(Sentence("has {place}, but places are counted from 0", place=place))


def resolved(
    secret: Sequence[Place],
    function: Callable[..., Any] | None,
    name: str,
    pargs: Sequence[Any],
    pvars: Mapping[str, Any],
) -> list[Place]:
    """The list with the place of each name that can be given by place, so that it is hidden in
    whichever way it is given. BadTask for what the function does not have."""
    parameters = _parameters(function)
    if parameters is None:
        _check_unknown(secret, name, pargs, pvars)
        return list(secret)
    places: list[Place] = []
    for one in secret:
        places += _places_of(one, name, parameters, pargs, pvars)
    return list(dict.fromkeys(places))


def _parameters(function: Callable[..., Any] | None) -> list[inspect.Parameter] | None:
    if function is None:
        return None
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some of those that are written in C tell nothing
        return None


def _check_unknown(
    secret: Sequence[Place], function: str, pargs: Sequence[Any], pvars: Mapping[str, Any]
) -> None:
    """Of a function that is not here only its caller knows the places."""
    unnamed = [one for one in secret if one not in pvars]
    if pargs and unnamed and all(isinstance(one, str) for one in secret):
        raise BadTask(
            Sentence(
                'which argument is "{name}"? {function} is not known here: write its place, '
                "counted from 0, or pass it by name",
                name=unnamed[0],
                function=function,
            )
        )


def _places_of(
    one: Place,
    function: str,
    parameters: list[inspect.Parameter],
    pargs: Sequence[Any],
    pvars: Mapping[str, Any],
) -> list[Place]:
    by_place = [each.name for each in parameters if each.kind in _POSITIONAL]
    kinds = {each.name: each.kind for each in parameters}
    takes_more = inspect.Parameter.VAR_POSITIONAL in kinds.values()
    if isinstance(one, int):
        if one >= len(by_place) and not takes_more:
            raise BadTask(
                Sentence(
                    "has place {place}, but {function} takes {number} arguments by place, "
                    "counted from 0",
                    place=one,
                    function=function,
                    number=len(by_place),
                )
            )
        return [one]
    kind = kinds.get(one)
    if kind in _POSITIONAL:
        return [one, by_place.index(one)]
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return [one, *range(len(by_place), max(len(pargs), len(by_place) + 1))]
    if kind is inspect.Parameter.VAR_KEYWORD:
        return [one, NOWHERE, *(name for name in pvars if name not in kinds)]
    if kind is None and inspect.Parameter.VAR_KEYWORD not in kinds.values():
        raise BadTask(_unknown(one, function, list(kinds)))
    return [one, NOWHERE]


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
    """The JSON of both, with dots in place of what is secret; still JSON."""
    if not secret:
        return args, pvars
    places = _believed(secret)
    by_place, by_name = _read(args, list), _read(pvars, dict)
    shown = [HIDDEN if _hides(places, place, by_name) else v for place, v in enumerate(by_place)]
    named = {
        name: HIDDEN if places is None or name in places else value
        for name, value in by_name.items()
    }
    return json.dumps(shown), json.dumps(named)


def _believed(secret: Any) -> list[Place] | None:
    """None where nobody can tell what is meant: then everything is secret."""
    try:
        return listed(secret)
    except BadTask:
        return None


def _read(text: str, kind: Any) -> Any:
    """The value behind the JSON; of what cannot be read nothing is shown at all."""
    try:
        found = json.loads(text or "null") or kind()
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, kind):
        return found
    return [HIDDEN] if kind is list else {HIDDEN: HIDDEN}


def _hides(places: list[Place] | None, place: int, by_name: Mapping[str, Any]) -> bool:
    if places is None or place in places:
        return True
    # Written by hand: names alone do not tell the place of one that was not given by name.
    has_places = any(isinstance(one, int) for one in places)
    return not has_places and any(one not in by_name for one in places)


def unmasked(value: Any, before: Any) -> Any:
    """Arguments with the secrets that a form showed as dots, and got back as dots: ``before`` is
    what the task has. BadTask for dots behind which there is nothing.

    >>> unmasked(["ann", "••••••"], ["bob", "hunter2"])
    ['ann', 'hunter2']
    """
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = {place: _behind(one, place, before) for place, one in pairs}
    return found if isinstance(value, dict) else list(found.values())


def _behind(value: Any, place: Any, before: Any) -> Any:
    if value != HIDDEN:
        return value
    try:
        behind = before[place]
    except (LookupError, TypeError):
        behind = HIDDEN
    if behind == HIDDEN:
        raise BadTask(Sentence("there is nothing behind the dots of {name}: write it", name=place))
    return behind
