"""`make demo`: py4web with the demo app, a worker for it, real work, and its results as they come.

Everything runs on this machine only, and ends with Ctrl+C.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

APPS = Path(__file__).resolve().parent
RUNTIME = APPS.parent / ".demo"
HOST, PORT = "127.0.0.1", int(os.environ.get("PORT", "8000"))
START_TIME = 30  # seconds for the web server to answer


def main() -> int:
    """Start all of it; until Ctrl+C."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a background shell has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    if is_answering():
        print(f"Port {PORT} is in use; choose another: make demo PORT=8001", file=sys.stderr)
        return 2
    password = secrets.token_urlsafe(6)
    os.environ["DEMO_KEY"] = secrets.token_urlsafe(12)  # for the web server that we start
    folder = prepare(password)
    with contextlib.ExitStack() as running, contextlib.suppress(KeyboardInterrupt):
        scheduler, queued = queue_work(folder)
        running.enter_context(started(web_server(folder)))
        running.enter_context(started(worker(folder)))
        wait_until_answering()
        tell_addresses(password, len(queued))
        follow(scheduler)
    print("\nAll ended.")
    return 0


def prepare(password: str) -> Path:
    """A folder of apps for py4web: its own dashboard, and a link to the demo."""
    folder = RUNTIME / "apps"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    if not (folder / "demo").exists():
        (folder / "demo").symlink_to(APPS / "demo", target_is_directory=True)
    unpack_dashboard(folder / "_dashboard")
    command = [sys.executable, "-m", "py4web", "set_password", "--password", password]
    subprocess.run(
        [*command, "-p", str(RUNTIME / "password.txt")], check=True, stdout=subprocess.DEVNULL
    )
    return folder


def unpack_dashboard(folder: Path) -> None:
    """py4web carries its dashboard, with the database admin, in an archive."""
    import py4web

    if not folder.exists():
        archive = Path(py4web.__file__).parent / "assets" / "py4web.app._dashboard.zip"
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)


def queue_work(folder: Path):
    """Load the app once before anybody else, so that its tables are there, and queue."""
    from plugin_scheduler.loaders import load

    world = load({"kind": "py4web", "app": "demo", "folder": str(folder)})
    from apps.demo.first_work import queue_first_work
    from apps.demo.work import queue_link_check

    queued = queue_first_work() or queue_link_check()  # at later starts there is work, too
    world.home.db.commit()
    return world.home, queued


def web_server(folder: Path) -> list[str]:
    command = [sys.executable, "-m", "py4web", "run", str(folder), "-H", HOST, "-P", str(PORT)]
    return [*command, "-p", str(RUNTIME / "password.txt"), "-Y", "-Q"]


def worker(folder: Path) -> list[str]:
    command = [sys.executable, "-m", "plugin_scheduler", "-K", "demo"]
    return [*command, "--apps-folder", str(folder), "-n", "2", "-L", "WARNING"]


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[None]:
    """A process of its own session, which is ended with all that it started."""
    log = open(RUNTIME / f"{Path(command[2]).name}.log", "w")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def is_answering() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, PORT)) == 0


def wait_until_answering() -> None:
    until = time.monotonic() + START_TIME
    while not is_answering():
        if time.monotonic() > until:
            raise SystemExit(f"py4web did not start; see {RUNTIME}/py4web.log")
        time.sleep(0.1)


def tell_addresses(password: str, count: int) -> None:
    base = f"http://{HOST}:{PORT}"
    print(
        f"""
  The scheduler's pages   {base}/demo/open/{os.environ["DEMO_KEY"]}
  The demo app            {base}/demo
  Its tables              {base}/_dashboard/dbadmin/demo/db/scheduler_task
  Dashboard password      {password}

{count} task{"s" if count != 1 else ""} queued; results as they come; Ctrl+C ends everything.
""",
        flush=True,
    )


def follow(scheduler) -> None:
    """Print every run that ends from now on, until somebody has seen enough."""
    db, seen = scheduler.db, set()
    run, task = db.scheduler_run, db.scheduler_task
    begun = db(run).select(run.id.max()).first()[run.id.max()] or 0
    while True:
        db.commit()
        ended = (run.id > begun) & (run.status != "RUNNING") & (task.id == run.task_id)
        for row in db(ended).select(run.ALL, task.ALL, orderby=run.stop_time | run.id):
            if row.scheduler_run.id not in seen:
                seen.add(row.scheduler_run.id)
                tell_end(row.scheduler_run, row.scheduler_task)
        time.sleep(0.2)


def tell_end(run, task) -> None:
    what = run.run_result or run.reason or ""
    print(f"  {run.status:9} {task.task_name:22} {what[:80]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
