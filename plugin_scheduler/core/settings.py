"""Every option of the scheduler: its name, default, unit and check, in one frozen place.

I own options. I call the words. I never read a file, the environment or a database.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import OnFailure
from plugin_scheduler.system.clock import is_zone

UTC = "UTC"
#: What stands between groups, in `-K app:group` and in lists of groups that people write.
_BETWEEN_GROUPS = re.compile(r"[,:|\x00-\x1f\x7f]")


def _option(default: Any, unit: str, help: str, least: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"unit": unit, "help": help, "least": least})


@dataclass(frozen=True)
class Settings:
    """How a worker behaves; the first seven are web2py's.

    >>> Settings(heartbeat=1).lease
    5.0
    """

    group_names: tuple[str, ...] = _option(("main",), "names", "the groups whose tasks it takes")
    heartbeat: float = _option(3, "seconds", "how often a worker says that it lives", 0.05)
    max_empty_runs: int = _option(
        0, "heartbeats", "leave after so many beats without due work; 0 = stay", 0
    )
    discard_results: bool = _option(False, "", "keep run rows only of runs that did not succeed")
    utc_time: bool = _option(False, "", "start, stop and next run times are UTC, not local")
    time_zone: str | None = _option(
        None, "", "the zone of those times, such as Europe/Berlin; default the machine's own"
    )
    use_spawn: bool = _option(False, "", "start each runner as a new interpreter; never fork")
    worker_name: str | None = _option(None, "", "the worker's name; default host#pid#random")
    slots: int = _option(1, "runners", "how many tasks a worker runs at the same time", 1)
    keep_empty_runs: bool = _option(
        False, "", "keep the run row of a run that returned and printed nothing"
    )
    keep_printed_runs: bool = _option(
        True,
        "",
        "keep that of a run that returned nothing but printed something, as web2py's manual says; "
        "off: look at the result alone, as web2py's code does",
    )
    on_failure: str = _option("stop", "", "what a repeating task does after its last retry failed")
    autocommit: bool = _option(
        True,
        "",
        "a task's success commits the app's databases; off: rolls back what the task did not",
    )
    output_limit: int = _option(1 << 20, "bytes", "how much of a run's output is kept", 1024)
    max_losses: int = _option(3, "runs", "a task whose worker died so often under it FAILS", 1)
    ageing: float = _option(60, "seconds", "so much waiting weighs as much as 1 of priority", 0)
    grace: float = _option(30, "seconds", "how long SIGTERM lets running tasks go on", 0)
    kill_grace: float = _option(2, "seconds", "from a run's SIGTERM to its SIGKILL", 0)
    runner_max_runs: int = _option(
        10_000, "runs", "a runner is replaced after so many; 1 = a process for each", 1
    )
    runner_max_mib: int = _option(512, "MiB", "a runner larger than this is replaced; 0 = never", 0)
    db_outage_limit: float = _option(
        0, "seconds", "a worker whose database is away for longer leaves; 0 = it goes on trying", 0
    )
    unknown_function_wait: float = _option(
        3600,
        "seconds",
        "how long a due task waits for a worker that knows its function; then it FAILS",
        0,
    )
    sqlite_wal: bool = _option(True, "", "switch a SQLite file to write-ahead logging")

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            self._check(option)

    def _check(self, option: dataclasses.Field[Any]) -> None:
        value, least = getattr(self, option.name), option.metadata["least"]
        if option.name == "on_failure" and value not in OnFailure.ALL:
            raise ConfigError(f"on_failure={value!r}: one of {', '.join(OnFailure.ALL)}")
        if option.name == "time_zone" and value is not None:
            self._check_zone(value)
        if option.name == "group_names":
            self._check_groups(value)
        if least is None:
            return
        whole = option.type == "int"  # annotations are texts here
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            number = "a whole number" if whole else "a number"
            raise ConfigError(f"{option.name}={value!r}: {number} of {option.metadata['unit']}")
        if value < least:
            raise ConfigError(f"{option.name}={value!r}: at least {least:g}")

    def _check_groups(self, names: tuple[str, ...]) -> None:
        for name in names:
            fault = fault_of_group(name)
            if fault is not None:
                raise ConfigError(f"group_names: {name!r} {fault}")

    def _check_zone(self, name: str) -> None:
        if not is_zone(name):
            raise ConfigError(f"time_zone={name!r}: no such time zone; one is named Europe/Berlin")
        if self.utc_time and name != UTC:
            raise ConfigError(f"utc_time=True and time_zone={name!r} contradict each other")

    @property
    def zone(self) -> str | None:
        """The zone of all times in the tables; None is this machine's."""
        return UTC if self.utc_time else self.time_zone

    @property
    def lease(self) -> float:
        """Seconds after its last beat until a worker counts as dead: three beats and some air."""
        return 3 * self.heartbeat + 2.0

    @property
    def silence(self) -> float:
        """Seconds for which another's silence must be heard, besides, before it counts as dead."""
        return self.heartbeat + 2.0

    def replace(self, **changes: Any) -> Settings:
        """The same settings with some changed; ConfigError names an option that does not exist."""
        known = {option.name for option in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}; known: {', '.join(sorted(known))}")
        if "group_names" in changes:
            names = changes["group_names"]
            changes["group_names"] = (names,) if isinstance(names, str) else tuple(names)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be sent to another process."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The reverse of `as_dict`; lists become tuples again."""
        return cls(**{**values, "group_names": tuple(values["group_names"])})


def fault_of_group(name: str) -> Sentence | None:
    """Why no worker can be told to serve a group of that name; None where one can.

    >>> fault_of_group("high prio"), fault_of_group("a,b")
    (None, "cannot have ',': it stands between the names of groups")
    """
    if not name.strip():
        return Sentence("is empty")
    found = _BETWEEN_GROUPS.search(name)
    if found:
        what = "cannot have {character}: it stands between the names of groups"
        return Sentence(what, character=repr(found[0]))
    return Sentence("must not begin with [") if name[0] == "[" else None
