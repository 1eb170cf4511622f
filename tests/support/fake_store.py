"""A store without a database: fixed answers, failures on request, and a record of all calls."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from plugin_scheduler.core.types import Order, Report, Worker
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.scheduling.state_machine import Move
from plugin_scheduler.store.claims import Claim, Claims
from plugin_scheduler.store.maintenance import Maintenance
from plugin_scheduler.store.maintenance_checks import MaintenanceChecks
from plugin_scheduler.store.metrics import Metrics
from plugin_scheduler.store.task_reports import TaskReports, Wishes
from plugin_scheduler.store.worker_events import Events
from plugin_scheduler.store.workers import Workers
from plugin_scheduler.system.clock import TurnedClock

FIRST_ID = 1


class FakeNotifier(Notifier):
    """Reports a change once for each call of `ring`. Has no descriptor."""

    def __init__(self) -> None:
        self.has_rung = self.is_closed = False
        self.tests = 0

    def ring(self) -> None:
        self.has_rung = True

    def rung(self) -> bool:
        has_rung, self.has_rung = self.has_rung, False
        return has_rung

    def test(self) -> None:
        self.tests += 1

    def close(self) -> None:
        self.is_closed = True


class Call(NamedTuple):
    """One call of a method of the store, with its arguments by name, and its monotonic time."""

    name: str
    arguments: dict[str, Any]
    at: float


#: The parts of the store with the answer of each method that a worker calls. A function is called
#: with the arguments of the call; the other values are copied for each call.
_PARTS: dict[str, tuple[type, dict[str, Any]]] = {
    "workers": (
        Workers,
        {
            "all": [],
            "beat": True,
            "carried_out": None,
            "held": set(),
            "host_of": "web1",
            "lead": False,
            "lease_of": None,
            "orders": ("ACTIVE", ()),
            "register": FIRST_ID,
            "unknown_to_all": lambda functions, application: set(functions),
            "zone_in_use": None,
        },
    ),
    "tasks": (
        TaskReports,
        {
            "condemn_unreadable": 0,
            "free": lambda orders: {order.run_id for order in orders},
            "hand_back": lambda orders, worker_name: len(orders),
            "hand_back_unknown": 0,
            "report": lambda reports, worker_name: [(one, Move("finish")) for one in reports],
            "save_live": None,
            "wishes": Wishes({}, {}),
        },
    ),
    "claims": (
        Claims,
        {
            "give_up": 0,
            "has_due_work": False,
            "is_left": False,
            "next_due": None,
            "take": Claim([], 0, False),
        },
    ),
    "maintenance": (
        Maintenance,
        {
            "bury": lambda workers: len(list(workers)),
            "expire_overdue": 0,
            "fan_out_broadcasts": 0,
            "leave": None,
            "owners": set(),
            "requeue_lost": [],
            "unblock": 0,
        },
    ),
    "outlook": (MaintenanceChecks, {"read": set()}),
    "metrics": (Metrics, {"minute": 0, "of": {}, "prune": False, "write": None}),
    "events": (Events, {"prune": False, "write": None}),
    "dialect": (Dialect, {"about": {}, "lock_holders": set(), "version": "none"}),
}


class FakeStore:
    """Has the parts of `Store` that a worker uses.

    ``answers`` can be changed by a test, for example ``store.answers["claims.take"] = claim``. The
    arguments of each call are checked against the method of the store.
    """

    def __init__(self, clock: TurnedClock) -> None:
        self.clock, self.application = clock, "shop"
        self.answers: dict[str, Any] = {}
        self.calls: list[Call] = []
        self.bell = FakeNotifier()
        self.is_closed = False
        self._failures: dict[str, list[Exception]] = {}
        self._outage: Exception | None = None
        for part, (real, answers) in _PARTS.items():
            methods = {name: self._method(part, real, name) for name in answers}
            setattr(self, part, SimpleNamespace(**methods))
            self.answers |= {f"{part}.{name}": answer for name, answer in answers.items()}
        self.tasks.refused = {}
        self.dialect.now, self.dialect.epoch = clock.now, clock.epoch
        self.dialect.locks_rows, self.dialect.zone = True, None
        self.dialect.notifier, self.dialect.reading = lambda: self.bell, contextlib.nullcontext

    tasks: Any
    dialect: Any

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the fake store has no part {name!r}")

    def _method(self, part: str, real: type, name: str) -> Callable[..., Any]:
        parameters = inspect.signature(getattr(real, name))

        def call(*given: Any, **options: Any) -> Any:
            bound = parameters.bind(None, *given, **options)
            arguments = {key: value for key, value in bound.arguments.items() if key != "self"}
            full = f"{part}.{name}"
            self.calls.append(Call(full, arguments, self.clock.monotonic()))
            if self._outage is not None and part != "dialect":
                raise self._outage.with_traceback(None)
            if failures := self._failures.get(full):
                raise failures.pop(0).with_traceback(None)
            answer = self.answers[full]
            return answer(**arguments) if callable(answer) else copy.copy(answer)

        call.__name__ = name
        return call

    def fail(self, name: str, *errors: Exception) -> None:
        """Let the next calls of a method raise these errors, one after the other."""
        self._failures.setdefault(name, []).extend(errors)

    def go_away(self, error: Exception) -> None:
        """Let every call that needs the database raise this error until `come_back`."""
        self._outage = error

    def come_back(self) -> None:
        self._outage = None

    def named(self, name: str) -> list[Call]:
        """Return the calls of a method, or of all methods of a part."""
        return [call for call in self.calls if name in (call.name, call.name.split(".")[0])]

    def times(self, name: str) -> list[float]:
        """Return when a method was called (monotonic time)."""
        return [call.at for call in self.named(name)]

    @property
    def reports(self) -> list[Report]:
        """Return all reports of all calls, refused or not."""
        return [one for call in self.named("tasks.report") for one in call.arguments["reports"]]

    @property
    def given_back(self) -> list[Order]:
        """Return all orders of all attempts to give orders back."""
        calls = self.named("tasks.hand_back")
        return [order for call in calls for order in call.arguments["orders"]]

    @property
    def events_written(self) -> list[str]:
        """Return the events of the history, in the order in which they were written."""
        calls = self.named("events.write")
        return [one.event.value for call in calls for one in call.arguments["events"]]

    def close(self) -> None:
        self.is_closed = True


def a_worker(clock: TurnedClock, **columns: Any) -> Worker:
    """Return the row of a living worker without the lead; ``columns`` are what matters."""
    ordinary: dict[str, Any] = {
        "id": FIRST_ID,
        "worker_name": "web1#4711",
        "application_name": "shop",
        "status": "ACTIVE",
        "is_ticker": False,
        "group_names": ("main",),
        "lease_until": clock.epoch() + 10,
    }
    return Worker(**{**ordinary, **columns})
