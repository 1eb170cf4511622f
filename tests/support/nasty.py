"""Rows whose every text tries to become something else: script, attribute, template, terminal.

I know what people have tried elsewhere, and put it into every column that takes a text. I know
nothing of pages.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus
from support.pages_kit import Site

#: 7 * 191, which no page has any other reason to show.
PRODUCT = "1337"
SCRIPT = "<script>window.pwned=1</script>"
LONG = (
    SCRIPT,
    "<img src=x class=pwned onerror=window.pwned=2>",
    '" onmouseover="window.pwned=3" onfocus="window.pwned=3" autofocus class="pwned',
    "' onmouseover='window.pwned=4' class='pwned",
    "</script></title></textarea></pre></style>--><svg onload=window.pwned=5 class=pwned>",
    "[[=7*191]]{{7*191}}${7*191}<%=7*191%>#{7*191}",
    "<div class=pwned hx-get=/lab/pwned hx-trigger=load>",
    "javascript:window.pwned=6",
    "{name} {0} {0.__class__} %s %(x)s",
    "\x1b[31m\x1b]8;;http://e.example\x07link\x1b[2J \u202eltr\u2066 \u2028",
)
#: What commands a terminal, turns the direction of writing or ends a line.
ACTS = "\u202e\x1b[7m\u2066\u2028"
SHORT = f"{ACTS}{SCRIPT}\"'><b class=pwned onclick=pwned()>[[=7*191]] {{0}}&lt;"
TEXT = " ".join(LONG)
LINK = "javascript:window.pwned=7//"
LARGE = 1_000_000
TRACEBACK = f"""Traceback (most recent call last):
  File "{SHORT}.py", line 3, in {SHORT}
    raise ValueError("{SHORT}")
ValueError: {TEXT}
"""
STATS = {
    "pid": 4711,
    "hostname": SHORT,
    "running": {SHORT: SHORT},
    SHORT: [SHORT, {SHORT: TEXT}],
    "version": SHORT,
}


class Nasty:
    """Fills a site; afterwards its attributes say what stands in the places of addresses."""

    def __init__(self, site: Site) -> None:
        self.db = site.app.fresh()
        self.is_sqlite = site.kind == "sqlite"
        self.now = site.app.scheduler.now().replace(microsecond=0)
        self.tasks = {status: self.task(status) for status in TaskStatus.ALL}
        self.runs = {status: self.run(status) for status in RunStatus.ALL}
        self.waiting()
        self.worker()
        self.past()
        if self.is_sqlite:  # which takes a NUL in a text
            self.db.executesql("UPDATE scheduler_task SET task_name = task_name || char(0) || 'x'")
            self.db.executesql("UPDATE scheduler_run SET run_output = run_output || char(0) || 'x'")
        self.db.commit()

    def values(self) -> dict[str, Any]:
        arguments = json.dumps([TEXT, {TEXT: TEXT}, "\ud800", "\x00", LINK])
        return {
            "application_name": "lab",
            "function_name": SHORT,
            "group_name": SHORT,
            "args": arguments,
            "vars": json.dumps({SHORT: TEXT, "link": LINK, "half": "\udfff", LINK: None}),
            "reason": SHORT,
            "assigned_worker_name": SHORT,
            "only_worker": SHORT,
            "period": 60,
            "repeats": 0,
        }

    def task(self, status: str, **columns: Any) -> int:
        name = f"{status} {SHORT}"
        given = {"task_name": name, "uuid": f"{status}{SHORT}", "status": status, **columns}
        return int(self.db.scheduler_task.insert(**{**self.values(), **given}))

    def run(self, status: str) -> int:
        return int(
            self.db.scheduler_run.insert(
                task_id=self.tasks.get(status, self.tasks[TaskStatus.COMPLETED]),
                status=status,
                start_time=self.now - timedelta(minutes=2),
                stop_time=self.now - timedelta(minutes=1),
                run_output=f"{TEXT}\n!clear!{TEXT}\r50% {TEXT}\n",
                run_result=json.dumps([TEXT, {SHORT: LINK}, "\ud800"]),
                traceback=TRACEBACK if status in (RunStatus.FAILED, RunStatus.TIMEOUT) else "",
                worker_name=SHORT,
                duration=60.0,
                reason=TEXT[:500],
                progress={"at": 3, "of": 10, "text": TEXT},
            )
        )

    def waiting(self) -> None:
        """What comes again, what waits for what, and what is large."""
        self.task("QUEUED", uuid="cron", cronline="*/5 * * * *")
        late = self.now - timedelta(days=1)
        self.task("QUEUED", uuid="late", next_run_time=late, start_time=late)
        large = self.task("FAILED", uuid="large", args=json.dumps([SHORT * (LARGE // len(SHORT))]))
        text = (SHORT + "\n") * (LARGE // len(SHORT))
        ends = {"start_time": self.now, "stop_time": self.now, "status": "FAILED"}
        self.large_run = self.db.scheduler_run.insert(
            task_id=large, run_output=text, run_result=json.dumps(text), traceback=text, **ends
        )
        first, second = self.tasks["QUEUED"], self.tasks["FAILED"]
        self.db.scheduler_task_deps.insert(job_name=SHORT, task_parent=first, task_child=second)

    def worker(self) -> None:
        for status in (WorkerStatus.ACTIVE, WorkerStatus.DISABLED):
            self.db.scheduler_worker.insert(
                worker_name=f"{SHORT}{status}",
                status=status,
                group_names=[SHORT, f"{SHORT}2"],
                worker_stats=STATS,
                first_heartbeat=self.now,
                last_heartbeat=self.now,
                lease_until=4_000_000_000.0,
                application_name="lab",
            )

    def past(self) -> None:
        history = {"who": SHORT, "did": SHORT, "worker_name": SHORT, "detail": {SHORT: TEXT}}
        for task_id in (None, *self.tasks.values()):
            self.db.scheduler_history.insert(
                noted_at=self.now, task_id=task_id, application_name="lab", **history
            )
        minute = int(datetime.now().timestamp()) // 60
        counts = {"completed": 3, "failed": 1, "run_seconds": 2.0, "wait_seconds": 1.0}
        names = {"worker_name": SHORT, "function_name": SHORT, "group_name": SHORT}
        for back in range(3):
            self.db.scheduler_metric.insert(
                epoch_minute=minute - back, application_name="lab", **names, **counts
            )

    def unreadable(self) -> None:
        """What somebody wrote by hand: words of no list, JSON that is none, times that are none."""
        self.task("<b>odd</b>", uuid="odd-status")
        self.task("QUEUED", uuid="odd-json", args="{", vars="[1]", secret="{{")
        self.task("QUEUED", uuid="odd-cron", cronline="every now and then", period=-5)
        self.task("QUEUED", uuid="no-times", next_run_time=None, start_time=None, enabled=None)
        odd = {"status": "<b>odd</b>", "start_time": None, "run_result": "{", "worker_name": None}
        self.db.scheduler_run.insert(task_id=self.tasks["QUEUED"], **odd)
        self.db.scheduler_worker.insert(worker_name="odd", status="<b>odd</b>", worker_stats=None)
        self.db.scheduler_history.insert(who=None, did=None, application_name="lab")
        if self.is_sqlite:  # which takes any text for a time
            late = "next_run_time = 'tomorrow', last_run_time = '2026-13-45'"
            self.db.executesql(f"UPDATE scheduler_task SET {late} WHERE uuid = 'late'")
            never = "start_time = 'never', stop_time = x'ff'"
            self.db.executesql(f"UPDATE scheduler_run SET {never} WHERE status = 'TIMEOUT'")
        self.db.commit()
