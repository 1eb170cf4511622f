"""Inspect the arguments of a function: names, kinds, defaults and help texts, for a form.

The information comes from the signature, the type hints and the docstring. The function is never
called, and inspection never fails: an argument that cannot be understood is of kind "any".
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import functools
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import docstring_parser

from plugin_scheduler.core.registry import signature_of, unwrapped


class ArgumentKind:
    """The kinds of form fields for an argument."""

    INT, FLOAT, DECIMAL, BOOL = "int", "float", "decimal", "bool"
    TEXT, LONG_TEXT, CHOICE = "text", "long text", "choice"
    DATE, DATETIME, TIME = "date", "datetime", "time"
    LIST, DICT = "list", "dict"  # as JSON
    ANY = "any"  # JSON if the text is valid JSON, otherwise text


_KINDS: dict[Any, str] = {
    bool: ArgumentKind.BOOL,
    int: ArgumentKind.INT,
    float: ArgumentKind.FLOAT,
    decimal.Decimal: ArgumentKind.DECIMAL,
    str: ArgumentKind.TEXT,
    bytes: ArgumentKind.TEXT,
    uuid.UUID: ArgumentKind.TEXT,
    datetime.datetime: ArgumentKind.DATETIME,
    datetime.date: ArgumentKind.DATE,
    datetime.time: ArgumentKind.TIME,
}
#: Type names, for hints that cannot be resolved.
_WORDS = {kind.__name__: kind for kind in (*_KINDS, list, dict, tuple, set)}
_WORDS |= {f"datetime.{one}": _WORDS[one] for one in ("datetime", "date", "time")}
#: Names of arguments whose texts usually have several lines.
_LONG = {"text", "body", "message", "html", "content", "description", "notes", "query", "sql"}
_NOTHING = type(None)
ABSENT: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Argument:
    """An argument: its form field, and its default."""

    name: str
    kind: str = ArgumentKind.ANY
    required: bool = True
    nullable: bool = False  # None is allowed
    default: Any = ABSENT
    choices: tuple[tuple[str, Any], ...] = ()  # the text shown, and the value passed
    help: str = ""
    by_place_only: bool = False
    by_name_only: bool = False
    gathers: str = ""  # "*" for all other positional arguments, "**" for all other named ones

    @property
    def has_default(self) -> bool:
        return self.default is not ABSENT


def arguments_of(function: Callable[..., Any]) -> list[Argument]:
    """Return the arguments in order; none if the function has no signature.

    >>> def add(a: int, b: int = 1): ...
    >>> [(one.name, one.kind, one.required) for one in arguments_of(add)]
    [('a', 'int', True), ('b', 'int', False)]
    """
    signature = signature_of(function)
    if signature is None:
        return []
    parameters = list(signature.parameters.values())
    hints, helps = Hints(function), _helps(function)
    return [_argument(one, hints, helps.get(one.name, "")) for one in parameters]


def summary_of(function: Callable[..., Any]) -> str:
    """Return the first paragraph of the docstring, on one line."""
    lines = (inspect.getdoc(function) or "").split("\n\n")[0]
    return " ".join(lines.split())


def _helps(function: Callable[..., Any]) -> dict[str, str]:
    """Return the help text of each argument from the docstring, in any common style."""
    try:
        parsed = docstring_parser.parse(inspect.getdoc(function) or "")
    except docstring_parser.ParseError:
        return {}
    return {
        name.strip().lstrip("*"): " ".join((one.description or "").split())
        for one in parsed.params
        for name in one.arg_name.split(",")
    }


def _argument(parameter: inspect.Parameter, hints: Hints, text: str) -> Argument:
    one = Argument(
        parameter.name,
        default=parameter.default,
        required=parameter.default is ABSENT,
        help=text,
        by_place_only=parameter.kind is parameter.POSITIONAL_ONLY,
        by_name_only=parameter.kind is parameter.KEYWORD_ONLY,
    )
    if parameter.kind is parameter.VAR_POSITIONAL:
        return replace(one, kind=ArgumentKind.LIST, required=False, gathers="*")
    if parameter.kind is parameter.VAR_KEYWORD:
        return replace(one, kind=ArgumentKind.DICT, required=False, gathers="**")
    one = _of_hint(one, hints.of(parameter))
    if one.kind == ArgumentKind.TEXT and (one.name in _LONG or "\n" in str(one.default)):
        one = replace(one, kind=ArgumentKind.LONG_TEXT)
    return replace(one, nullable=one.nullable or one.default is None)


class Hints:
    """The type hints of a function, resolved one by one, so that one failure affects no other."""

    def __init__(self, function: Callable[..., Any]) -> None:
        plain = unwrapped(function)
        plain = plain.func if isinstance(plain, functools.partial) else plain
        names = getattr(plain, "__globals__", None)
        self._names = names if isinstance(names, dict) else {}

    def of(self, parameter: inspect.Parameter) -> Any:
        """Return the hinted type; `ABSENT` for a missing or unknown hint."""
        hint = parameter.annotation
        if hint is ABSENT:
            return ABSENT
        holder = types.SimpleNamespace(__annotations__={parameter.name: hint})
        try:
            found = typing.get_type_hints(holder, dict(self._names), include_extras=True)
            return found[parameter.name]
        except Exception:  # resolving a hint runs foreign code, which may raise anything
            return self._by_words(hint)

    def _by_words(self, hint: Any) -> Any:
        if not isinstance(hint, str):
            return hint
        words = [word.strip() for word in hint.strip("'\"").split("|")]
        known = [_WORDS.get(word.partition("[")[0]) for word in words if word != "None"]
        if len(known) != 1 or known[0] is None:
            return ABSENT
        return typing.Optional[known[0]] if "None" in words else known[0]  # noqa: UP045


def _of_hint(one: Argument, hint: Any) -> Argument:
    """Complete the argument from its hint, or from the type of its default."""
    if hint is ABSENT or hint is Any or hint is object:
        return _of_default(one) if hint is ABSENT else one
    if typing.get_origin(hint) is typing.Annotated:
        plain, *notes = typing.get_args(hint)
        words = next((note for note in notes if isinstance(note, str)), "")
        return _of_hint(replace(one, help=one.help or words), plain)
    if isinstance(hint, typing.NewType):
        return _of_hint(one, hint.__supertype__)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _of_union(one, typing.get_args(hint))
    choices = tuple(_choices(hint))
    if choices:
        return replace(one, kind=ArgumentKind.CHOICE, choices=choices)
    return replace(one, kind=_kind_of(hint))


def _of_default(one: Argument) -> Argument:
    default = one.default
    if default is ABSENT or default is None:
        return one
    return _of_hint(one, type(default))


def _of_union(one: Argument, members: tuple[Any, ...]) -> Argument:
    others = [member for member in members if member is not _NOTHING]
    one = replace(one, nullable=len(others) < len(members))
    if len(others) == 1:
        return _of_hint(one, others[0])
    kinds = {_of_hint(one, member).kind for member in others}
    if kinds <= {ArgumentKind.TEXT, ArgumentKind.LONG_TEXT}:
        return replace(one, kind=ArgumentKind.TEXT)
    return (
        replace(one, kind=ArgumentKind.FLOAT)
        if kinds == {ArgumentKind.INT, ArgumentKind.FLOAT}
        else one
    )


def _choices(hint: Any) -> Iterator[tuple[str, Any]]:
    if typing.get_origin(hint) is typing.Literal:
        for value in typing.get_args(hint):
            yield str(value), value
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        for member in hint:
            text = str(member.value)
            is_telling = isinstance(member.value, str)
            yield (text if is_telling else f"{member.name} ({text})"), member.value


def _kind_of(hint: Any) -> str:
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type):
        return ArgumentKind.ANY
    for one in kind.__mro__:
        if one in _KINDS:
            return _KINDS[one]
    if issubclass(kind, collections.abc.Mapping) or typing.is_typeddict(kind):
        return ArgumentKind.DICT
    if issubclass(kind, collections.abc.Iterable):
        return ArgumentKind.LIST
    return ArgumentKind.TEXT if hasattr(kind, "__fspath__") else ArgumentKind.ANY
