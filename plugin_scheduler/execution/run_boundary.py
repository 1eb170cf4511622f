"""Reset a runner between two runs, and decide when it must retire.

A runner is one process for many runs. `RunBoundary` separates them:

- transactions end with their run, in every open DAL and in bare driver connections;
- the process state is restored to the state before the first run (`process_state`), and so is the
  language;
- if something cannot be undone (a thread still runs, a limit was lowered), `end` returns the
  reasons why the runner must retire: it reports and exits, and the next task gets a fresh process.

Everything else (modules, globals, files, child processes) is left to the task. The table in
docs/explanation/processes.md says the same for users.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Sequence
from typing import Any

from plugin_scheduler.database.bare_connections import BareConnections
from plugin_scheduler.database.sessions import Sessions
from plugin_scheduler.execution.process_state import ProcessState

A_MOMENT = 0.01  # seconds for threads that are about to end


class RunBoundary:
    """The boundary between two runs of one runner."""

    def __init__(self, inherited: Sequence[Any] = (), translators: Sequence[Any] = ()) -> None:
        """``inherited``: bare connections of the process that this one was forked from.
        ``translators``: those of the app; a task may change their language."""
        self.sessions = Sessions()
        self._bare = BareConnections(inherited)
        self._process = ProcessState()
        self._threads = _thread._count()
        self._languages = [(one, _language_of(one)) for one in translators]

    def begin(self) -> None:
        """Prepare for a run."""
        self.sessions.refresh()

    def commit(self) -> None:
        """Commit a successful run; raise CommitFailed if its changes are not in the database."""
        self.sessions.commit()

    def rollback(self) -> None:
        """Roll back a run that failed, or that commits by itself."""
        self.sessions.rollback()

    def end(self) -> list[str]:
        """Reset the process after the transactions have ended; return the reasons why the runner
        must retire."""
        self.sessions.tidy()
        reasons = self._bare.end_transactions()
        if _thread._count() != self._threads:
            reasons += self._threads_left()
        for translator, language in self._languages:
            if _language_of(translator) != language:
                translator.local.tag, translator.local.language = language
        reasons += self._process.restore()
        return reasons

    def _threads_left(self) -> list[str]:
        """Return a reason if threads still run: they may hold connections, and print into the next
        run's output."""
        others = [one for one in threading.enumerate() if one is not threading.main_thread()]
        for thread in others[self._threads :]:
            thread.join(A_MOMENT)
        left = _thread._count() - self._threads
        if left < 0:
            self._threads += left
        return [f"{left} thread{'s are' if left > 1 else ' is'} still running"] if left > 0 else []


def _language_of(translator: Any) -> tuple[Any, Any]:
    local = translator.local
    return getattr(local, "tag", None), getattr(local, "language", None)
