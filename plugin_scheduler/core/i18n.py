"""English messages that can be translated when they are shown.

Contains no translations: the code that shows a `Sentence` may translate its template first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Sentence(str):
    """English text that keeps its template and values.

    Values may be sentences, or lists of sentences, which are joined with commas.

    >>> Sentence("worker {name} is silent", name="w1")
    'worker w1 is silent'
    >>> Sentence("worker {name} is silent", name="w1").said(italian)
    'il worker w1 tace'
    """

    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Sentence:
        one = super().__new__(cls, _filled(template, values, str))
        one.template, one.values = template, values
        return one

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """Make copies from the template and values: the text must not be used as a template."""
        return (self.template,), self.values

    def said(self, translate: Callable[[str], Any]) -> str:
        """Return the translated sentence; ``translate`` maps a template to a translated one."""
        return _filled(str(translate(self.template)), self.values, _sayer(translate))


def _filled(template: str, values: dict[str, Any], say: Callable[[Any], str]) -> str:
    return template.format(**{name: _spoken(value, say) for name, value in values.items()})


def _spoken(value: Any, say: Callable[[Any], str]) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(say(one) for one in value)
    return say(value) if isinstance(value, str) else value


def _sayer(translate: Callable[[str], Any]) -> Callable[[Any], str]:
    return lambda value: value.said(translate) if isinstance(value, Sentence) else str(value)
