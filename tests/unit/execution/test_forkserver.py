"""A forkserver's own process: what it holds open while it waits for spawned."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.execution.forkserver import Forkserver
from plugin_scheduler.system.socket_state import has_news


def pipes_of(pid: int) -> list[str]:
    """The pipes of which a process holds both ends; not those that it was started with."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(path.readlink()))
    return [link for link, count in Counter(links).items() if link[:4] == "pipe" and count == 2]


def test_a_forkserver_holds_one_pipe_that_tells_of_deaths_also_after_the_app_was_loaded(
    tmp_path: Path,
) -> None:
    tasks = tmp_path / "tasks.py"
    tasks.write_text("def add(a, b):\n    return a + b\n")
    spec = {"kind": "file", "uri": "sqlite://storage.sqlite", "folder": str(tmp_path)}
    spec |= {"tasks": str(tasks), "settings": Settings().as_dict(), "overrides": {}}
    with closing(Forkserver.start({**spec, "nonce": "n"})) as forkserver:
        assert has_news(forkserver, within=30)
        assert [message[0] for message in forkserver.read()] == ["loaded"]
        inherited = set(pipes_of(os.getpid()))
        assert len(set(pipes_of(forkserver.pid)) - inherited) == 1
