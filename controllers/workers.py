"""The workers: their runs and their state, and commands to them.

Decides which commands are possible for a worker. Does not access processes: a worker reads its row
and follows it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from plugin_scheduler.controllers.web.auth import ADMIN
from plugin_scheduler.controllers.web.request_context import Done, Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core.errors import BadTask, NotFound
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import WorkerStatus
from plugin_scheduler.queries import views
from plugin_scheduler.queries.workers import AtWork, WorkerCard

COMMANDS = ("resume", "disable", "terminate", "kill")
GIGABYTE = 1e9


def mount(site: Site) -> None:
    """Register the list of workers, the page of one, and commands to them."""
    _mount_pages(site)
    _mount_orders(site)


def _mount_pages(site: Site) -> None:

    @site.page("workers", "workers.html")
    def scheduler_workers(visit: Visit) -> dict[str, Any]:
        staff = visit.queries.staff()
        command = views.command(visit.scheduler.application_name, "main")
        return {
            "cards": [_card(visit, one) for one in staff.members],
            "groups": _groups(visit, staff.members),
            "others": staff.others,
            "command": command,
        }

    @site.page("workers/<name:path>", "worker.html")
    def scheduler_worker(visit: Visit, name: str) -> dict[str, Any]:
        member = _found(visit, name)
        return {
            "called": name,
            "card": _card(visit, member) if member else None,
            "notes": visit.journal.of_worker(name, 20),
        }

    @site.data("api/workers")
    def scheduler_api_workers(visit: Visit) -> dict[str, Any]:
        """Return every worker of this app, alive or dead: status or command (``status``), groups,
        slots and their runs, load, memory, versions, and ``troubles`` in words."""
        staff = visit.queries.staff()
        return {"workers": [_plain(visit, one) for one in staff.members], "others": staff.others}


def _mount_orders(site: Site) -> None:
    @site.change("workers/order", role=ADMIN)
    def scheduler_order(visit: Visit) -> Done:
        """Send a command to one ``worker``, or to all workers of this app that serve a ``group``:
        ``disable`` (take no new tasks), ``resume``, ``terminate`` (finish, then exit) or ``kill``
        (exit at once; running tasks are given back). ``workers`` are the names of those that
        received it."""
        order, group = str(visit.given.get("order")), visit.given.get("group")
        if order not in COMMANDS:
            raise BadTask(Sentence("order must be one of {orders}", orders=list(COMMANDS)))
        if group:
            members = [one for one in visit.queries.staff().members if group in one.worker.groups]
        else:
            one = _found(visit, str(visit.given.get("worker") or ""))
            if one is None:
                raise NotFound(visit.T("Worker not found. It may have stopped."))
            members = [one]
        told = [name for one in members if (name := _told(visit, order, one, group))]
        to = str(visit.given.get("to") or "workers")
        return Done(_answer(visit, order, told), to=own_page(to), data={"workers": told})


# -- commands ----------------------------------------------------------------------------------


def _found(visit: Visit, name: str) -> WorkerCard | None:
    return next((one for one in visit.queries.staff().members if one.worker.name == name), None)


def _told(visit: Visit, order: str, member: WorkerCard, group: Any) -> str | None:
    """Send a command; return the worker's name, or None if the command is not possible now."""
    name = member.worker.name
    if order not in _possible(member) or not getattr(visit.scheduler, order)(worker_name=name):
        return None
    detail = {"group": str(group)} if group else {}
    visit.journal.note(visit.person.name, order, worker_name=name, **detail)
    return name


def _possible(member: WorkerCard) -> list[str]:
    """Return the commands that a worker can receive now."""
    status = member.worker.status
    if not member.worker.alive or status == WorkerStatus.KILL:
        return []
    if status == WorkerStatus.TERMINATE:
        return ["kill"]
    rest = "resume" if status == WorkerStatus.DISABLED else "disable"
    return [rest, "terminate", "kill"]


def _answer(visit: Visit, order: str, told: list[str]) -> str:
    if not told:
        return visit.T("No worker affected.")
    who = ", ".join(told)
    said = {
        "disable": visit.T("Paused: {who}.", who=who),
        "resume": visit.T("Resumed: {who}.", who=who),
        "terminate": visit.T("Terminating: {who}.", who=who),
        "kill": visit.T("Killing: {who}.", who=who),
    }
    return said[order]


def own_page(to: str) -> str:
    """Return the page of a worker, validated; the list of workers for anything else.

    >>> own_page("workers/host#1"), own_page("workers/../../x"), own_page("workers/%2e%2e/x")
    ('workers/host#1', 'workers', 'workers')
    """
    plain = to
    while plain != (plain := unquote(plain)):  # also if encoded twice
        pass
    parts = plain.split("/")
    is_odd = "\\" in plain or not plain.isprintable() or {"", ".", ".."} & set(parts)
    return "workers" if is_odd or len(parts) < 2 or parts[0] != "workers" else to


def _buttons(visit: Visit, orders: list[str], who: str) -> list[dict[str, str]]:
    """Return the buttons, with a confirmation for what cannot be undone."""
    T = visit.T
    labels = {
        "resume": T("Resume"),
        "disable": T("Pause"),
        "terminate": T("Terminate"),
        "kill": T("Kill"),
    }
    questions = {
        "terminate": T("Terminate {who}? Running tasks finish first.", who=who),
        "kill": T("Kill {who}? Running tasks restart on another worker.", who=who),
    }
    return [
        {"order": one, "label": labels[one], "question": questions.get(one, "")} for one in orders
    ]


# -- display -----------------------------------------------------------------------------------


def _card(visit: Visit, member: WorkerCard) -> dict[str, Any]:
    """Return a worker as displayed on its card."""
    worker = member.worker
    can_order = visit.person.can_admin
    who = visit.T("worker {name}", name=worker.name)
    return {
        "worker": worker,
        "address": f"workers/{worker.name}",
        "slots": [_slot(one) for one in member.at_work],
        "idle": max(0, worker.slots - len(member.at_work) - member.for_others),
        "for_others": member.for_others,
        "troubles": member.troubles,
        "leaving": worker.status in WorkerStatus.LEAVING,
        "resting": worker.status == WorkerStatus.DISABLED,
        "buttons": _buttons(visit, _possible(member), who) if can_order else [],
        "meters": _meters(visit, member) if worker.alive else [],
        "versions": _versions(member),
    }


def _slot(run: AtWork) -> dict[str, Any]:
    share = run.headway.share
    percent = None if share is None else round(100 * share)
    return {"run": run, "percent": percent, "words": run.headway.words, "left": run.headway.left}


def _meters(visit: Visit, member: WorkerCard) -> list[dict[str, Any]]:
    """Return label, text, and per cent if there is a maximum."""
    worker = member.worker
    cpus = max(1, worker.cpus)
    meters = [{"label": visit.T("Memory"), "words": _size(worker.memory), "percent": None}]
    told = visit.T("{percent} % of one core", percent=f"{worker.cpu:.0f}")
    share = min(100, round(worker.cpu / cpus))
    meters.append({"label": visit.T("Processor"), "words": told, "percent": share})
    if worker.load is not None:
        words = visit.T("{load} of {cpus}", load=f"{worker.load:.2f}", cpus=cpus)
        percent = min(100, round(100 * worker.load / cpus))
        meters.append({"label": visit.T("Host load"), "words": words, "percent": percent})
    return meters if worker.memory else []


def _size(size: float) -> str:
    """Return bytes in words.

    >>> _size(84_200_000), _size(1_500_000_000)
    ('84 MB', '1.5 GB')
    """
    return f"{size / GIGABYTE:.1f} GB" if size >= GIGABYTE else f"{size / 1e6:,.0f} MB"


def _versions(member: WorkerCard) -> str:
    worker = member.worker
    python = f"Python {worker.python}" if worker.python else ""
    plugin = f"plugin_scheduler {worker.version}" if worker.version else ""
    return " · ".join(filter(None, (plugin, python, worker.database)))


def _groups(visit: Visit, members: list[WorkerCard]) -> list[dict[str, Any]]:
    """Return each group with its living workers, and the commands they can receive together."""
    alive = [one for one in members if one.worker.alive]
    names = sorted({group for one in alive for group in one.worker.groups})
    return [
        _group(visit, name, [one for one in alive if name in one.worker.groups]) for name in names
    ]


def _group(visit: Visit, name: str, members: list[WorkerCard]) -> dict[str, Any]:
    possible = {order for one in members for order in _possible(one)}
    who = visit.T("all workers of group {name}", name=name)
    orders = [one for one in COMMANDS if one in possible]
    return {
        "name": name,
        "workers": len(members),
        "taking": sum(1 for one in members if one.worker.takes_work),
        "slots": sum(one.worker.slots for one in members),
        "busy": sum(len(one.at_work) + one.for_others for one in members),
        "buttons": _buttons(visit, orders, who) if visit.person.can_admin else [],
    }


def _plain(visit: Visit, member: WorkerCard) -> dict[str, Any]:
    """Return a worker for scripts."""
    told = views.plain(member.worker)
    times = ("first_heartbeat", "last_heartbeat", "started_at")
    return {
        **told,
        **{name: visit.iso(told[name]) for name in times},
        "running": [_plain_run(visit, one) for one in member.at_work],
        "for_others": member.for_others,
        "takes_work": member.worker.takes_work,
        "troubles": [visit.say(one) for one in member.troubles],
        "orders": _possible(member) if visit.person.can_admin else [],
    }


def _plain_run(visit: Visit, run: AtWork) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "task": run.task_id,
        "name": run.name,
        "function": run.function,
        "since": visit.iso(run.since),
        "seconds": run.seconds,
        "share": run.headway.share,
        "words": visit.say(run.headway.words),
        "left": run.headway.left,
    }
