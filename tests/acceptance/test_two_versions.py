"""Workers of two versions on one database, as during a rolling deploy."""

from __future__ import annotations

from pathlib import Path

from pydal import DAL, Field
from support.kit import TERM, Lab, eventually
from support.older_version import OlderVersion

TASKS = 40


def test_an_older_and_this_version_share_the_work_and_take_over_from_each_other(
    each_lab: Lab,
) -> None:
    lab = each_lab
    older = OlderVersion(Path(lab.folder) / "older")
    make_the_tables_of_the_task(lab)
    lab.write_tasks(
        "def work(seconds):\n    mark('work')\n    db.commit()\n    time.sleep(seconds)"
    )
    # The older version makes the tables, and its worker lives while they are brought up to date.
    old = older.start_worker(lab, "-b", "0.5")
    eventually(lambda: "started" in old.log, 30, "the older worker started")
    new = lab.start_worker("-b", "0.5")
    ids = [lab.queue("work", 0.02) for _ in range(TASKS)]
    for task_id in ids:
        lab.becomes(task_id, "COMPLETED", within=60)
    assert len(lab.marks("work")) == TASKS, "each of them once"
    assert "completed" in old.log and "completed" in new.log, "both took some"
    for dying, name in ((old, "older"), (new, "this")):
        lab.db(lab.db.mark).delete()
        lab.db.commit()
        while not (held := held_by(lab, dying.pid)):
            lab.queue("work", 2)
        dying.kill()
        for task_id in held:
            lab.becomes(task_id, "COMPLETED", within=60)
        if dying is old:
            old = older.start_worker(lab, "-b", "0.5")
            eventually(lambda: len(lab.worker_names()) == 2, 30, f"{name} is replaced")
    old.send(TERM)
    assert old.wait() == 0, old.log


def make_the_tables_of_the_task(lab: Lab) -> None:
    db = DAL(lab.uri, folder=str(lab.folder))
    db.define_table("mark", Field("name"), Field("run_id", "integer"), Field("at", "double"))
    db.commit()
    db.close()


def held_by(lab: Lab, pid: int) -> list[int]:
    """The tasks that the worker of that process runs."""
    db = lab.fresh()
    names = {
        row.worker_name
        for row in db(db.scheduler_worker).select()
        if isinstance(row.worker_stats, dict) and row.worker_stats.get("pid") == pid
    }
    running = db.scheduler_task.status == "RUNNING"
    rows = db(running & db.scheduler_task.assigned_worker_name.belongs(names)).select()
    db.commit()
    return [row.id for row in rows]
