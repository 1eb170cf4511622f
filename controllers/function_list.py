"""The functions that can be queued, with their arguments, for people and for scripts.

Never shows the default of a secret argument.
"""

from __future__ import annotations

import json
from typing import Any

from plugin_scheduler.controllers.task_form import default_text, secret_names
from plugin_scheduler.controllers.web.request_context import Visit

from plugin_scheduler.core.redaction import HIDDEN
from plugin_scheduler.core.signature import Argument, arguments_of, summary_of

SHORT = 30  # characters of a default


def functions(visit: Visit) -> list[dict[str, Any]]:
    """Return every function that can be queued, with its arguments."""
    catalog = visit.scheduler.catalog
    return [
        _about(name, one, catalog.defaults(name).get("secret"))
        for name, one in sorted(catalog.functions().items())
    ]


def _call(arguments: list[Argument], secret: set[str]) -> str:
    """Return the arguments in short form: ``(to, copies=1, *rest)``."""
    return f"({', '.join(_in_short(one, one.name in secret) for one in arguments)})"


def _in_short(one: Argument, is_secret: bool) -> str:
    if not one.has_default:
        return one.gathers + one.name
    if is_secret:
        return f"{one.name}={HIDDEN}"
    if isinstance(one.default, str):
        text = json.dumps(one.default, ensure_ascii=False)
    else:
        text = default_text(one) or str(one.default)
    return f"{one.name}={text if len(text) <= SHORT else text[:SHORT] + '...'}"


def _about(name: str, function: Any, declared: Any) -> dict[str, Any]:
    arguments = arguments_of(function)
    secret = secret_names(arguments, declared)
    return {
        "name": name,
        "call": _call(arguments, secret),
        "summary": summary_of(function),
        "arguments": [
            {
                "name": one.name,
                "kind": one.kind,
                "required": one.required,
                "default": _told_default(one, one.name in secret),
                "choices": [shown for shown, _ in one.choices],
                "gathers": one.gathers,
                "help": one.help,
            }
            for one in arguments
        ],
    }


def _told_default(one: Argument, is_secret: bool) -> str | None:
    if not one.has_default:
        return None
    return HIDDEN if is_secret else default_text(one)
