"""Actions on many tasks at once: selected ones, or all that match a filter.

A script requests one step after the other and shows the progress. A form without a script processes
as many tasks as one request may take. Does not decide which tasks an action applies to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from plugin_scheduler.controllers.tasks import wanted_of
from plugin_scheduler.controllers.web.auth import ADMIN
from plugin_scheduler.controllers.web.request_context import Done, Visit, whole
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.operations.bulk_actions import ACTS, Acted
from plugin_scheduler.system.clock import SYSTEM

DELETE = "delete"  # for admins only, so it has an address of its own
PATIENCE = 5.0  # seconds for a form without a script
#: The form fields that hold the value of an action.
VALUES = {"set_priority": "priority", "set_group": "group_name"}


def mount(site: Site) -> None:
    """Register the actions on existing tasks, and their deletion."""

    @site.change("tasks/act")
    def scheduler_tasks_act(visit: Visit) -> Done:
        """Apply `act` (stop, requeue, run_now, enable, disable, set_priority with `priority`,
        set_group with `group_name`) to the tasks of `id`, a list; or, with `all`, to one step of
        the tasks that match `query`, a filter in the form of an address, from above the id `above`
        up to the id `upto`. Returns `done`, `skipped` (reasons with numbers), `upto`, and `above`
        for the next step, null after the last."""
        name = str(visit.given.get("act") or "")
        if name == DELETE:
            raise BadTask(visit.T("To delete tasks, use tasks/delete."))
        return _act(visit, name)

    @site.change("tasks/delete", role=ADMIN)
    def scheduler_tasks_delete(visit: Visit) -> Done:
        """Delete tasks with their runs; parameters and result are those of `tasks/act`."""
        return _act(visit, DELETE)


def _act(visit: Visit, name: str) -> Done:
    value = visit.given.get(VALUES.get(name, ""))
    query = _query(visit)
    if not visit.given.get("all"):
        acted = visit.acts.act(name, _ids(visit), value)
        return _done(visit, name, acted, query)
    wanted = wanted_of(visit, query)
    upto = whole(visit.given.get("upto") or visit.queries.newest_id(), "upto")
    above: int | None = whole(visit.given.get("above") or 0, "above")
    until = SYSTEM.monotonic() + (0 if "above" in visit.given else PATIENCE)
    total = Acted(0, {})
    while True:
        step = visit.acts.act_on_matching(name, wanted, above or 0, upto, value)
        visit.scheduler.db.commit()
        total, above = total.plus(step.acted), step.at
        if above is None or SYSTEM.monotonic() >= until:
            return _done(visit, name, total, query, above=above, upto=upto)


def _query(visit: Visit) -> dict[str, str]:
    """Return the filter of the list, without its page."""
    text = json_codec.clean(str(visit.given.get("query") or ""))
    try:
        pairs = parse_qsl(text, True, strict_parsing=bool(text), max_num_fields=50)
    except ValueError:
        pairs = [("", "")]
    found: dict[str, str] = {}
    for name, value in pairs:
        if not name or not value.strip() or (name in found and name != "status"):
            raise BadTask(visit.T("Invalid filter."))
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _ids(visit: Visit) -> list[int]:
    ids = [whole(one, "id") for one in visit.listed("id")]
    if not ids:
        raise BadTask(visit.T("No task is selected."))
    return ids


def _done(visit: Visit, name: str, acted: Acted, query: Mapping[str, str], **more: Any) -> Done:
    words = visit.say(acted.sentence(name))
    if more.get("above") is not None:
        words += " " + visit.T("More tasks match. Press the button again to continue.")
    data = {
        "done": acted.done,
        "skipped": visit.skips(acted),
        "said": visit.shown.word(ACTS[name].said),
        **more,
    }
    return Done(words, to="tasks", query=query, data=data)
