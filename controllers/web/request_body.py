"""Check that the body of a request can be read.

The check comes first, because a session reads the body, too. Does not interpret the body.
"""

from __future__ import annotations

from py4web import request


def is_readable() -> bool:
    """Return True for a form, a JSON object, or an empty body; False for a body that does not match
    its declared type, or that is larger than the server reads into memory."""
    try:
        fields, members = request.forms, request.json
    except Exception:  # the server has its own exceptions for unreadable bodies
        return False
    return fields is not None and (members is None or isinstance(members, dict))
