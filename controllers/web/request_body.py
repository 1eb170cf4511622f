"""Can the body of a request be read at all?

I own that question, which is asked before anybody else reads: a session looks into a body, too. I
know nothing of what is in one.
"""

from __future__ import annotations

from py4web import request


def is_readable() -> bool:
    """True for a form, for a JSON object, and for nothing; False for what is not what it says it
    is, and for more than the server reads into memory."""
    try:
        fields, members = request.forms, request.json
    except Exception:  # the server's own kinds, for each way of being unreadable
        return False
    return fields is not None and (members is None or isinstance(members, dict))
