"""A person manages tasks and workers in py4web's own database admin; server and worker are real."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.kit import Worker, eventually
from support.server import App, Browser, Server

from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus

TASK, RUN, WORKER = "scheduler_task", "scheduler_run", "scheduler_worker"
ELSEWHERE = "elsewhere"  # a group that no worker serves


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    one = App(tmp_path_factory.mktemp("dashboard") / "apps")
    yield one
    one.close()


@pytest.fixture(scope="module")
def browser(app: App) -> Iterator[Browser]:
    """Somebody who is logged in to the dashboard."""
    server = Server(app.apps)
    one = None
    try:
        one = Browser(server)
        yield one
    finally:
        if one is not None:
            one.close()
        server.close()


@pytest.fixture(scope="module")
def worker(app: App) -> Worker:
    return app.start_worker()


@pytest.fixture
def holding(app: App, worker: Worker, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A task that runs until somebody makes a file; let go at the end of the test."""
    gate = tmp_path / "gate"
    task_id = app.queue("hold", str(gate))
    app.becomes(task_id, TaskStatus.RUNNING)
    yield task_id, gate
    gate.touch()
    eventually(lambda: not app.worker_row(worker).worker_stats["running"], 10, "the run is over")


def row_of(app: App, table: str, row_id: int) -> dict[str, Any]:
    """Every stored column of a row."""
    row = app.fresh()[table](row_id)
    return {name: row[name] for name in app.db[table].fields}


def changed_by_saving(
    app: App, browser: Browser, table: str, row_id: int, **changes: str
) -> dict[str, Any]:
    """Open, change what is given, save: the columns that are different then."""
    row_id = int(row_id)  # pydal's references are integers with surprises
    before = row_of(app, table, row_id)
    assert browser.edit(table, row_id, **changes) == {}
    after = row_of(app, table, row_id)
    return {name: value for name, value in after.items() if value != before[name]}


def waiting_task(app: App, **columns: Any) -> int:
    """A task that no worker takes until something about it is changed."""
    tomorrow = app.scheduler.now() + timedelta(days=1)
    return app.queue("add", 3, 4, **{"next_run_time": tomorrow, **columns})


def result_of(app: App, task_id: int) -> str:
    app.becomes(task_id, TaskStatus.COMPLETED)
    return str(app.runs(task_id)[0].run_result)


# -- tasks ---------------------------------------------------------------------------------------


def test_the_form_offers_functions_groups_and_statuses_to_choose_from(
    app: App, browser: Browser, worker: Worker
) -> None:
    waiting_task(app, group_name=ELSEWHERE)
    form = browser.form(TASK)
    assert form.choices["function_name"] == ["", "add", "fail", "hold"]
    assert form.choices["group_name"] == [ELSEWHERE, "main"]
    assert form.choices["status"] == list(TaskStatus.ALL)
    assert form.values["group_name"] == "main" and form.values["status"] == TaskStatus.QUEUED
    row = app.worker_row(worker)
    assert browser.form(WORKER, row.id).choices["status"] == list(WorkerStatus.ALL)


def test_a_task_made_in_the_form_runs(app: App, browser: Browser, worker: Worker) -> None:
    form = browser.form(TASK)
    form.values.update(function_name="add", args="[3, 4]", task_name="from the form")
    assert browser.save(TASK, form) == {}
    db = app.fresh()
    task = db(db.scheduler_task.task_name == "from the form").select().first()
    assert task.application_name == "lab" and task.uuid == form.values["uuid"]
    assert result_of(app, task.id) == "7"
    assert app.runs(task.id)[0].run_output == "adding\n"
    assert "from the form" in browser.page(TASK)


def test_the_form_says_what_is_wrong_and_makes_nothing(app: App, browser: Browser) -> None:
    form = browser.form(TASK)
    form.values.update(args="{}", vars="[1", cronline="61 * * * *", task_name="wrong")
    errors = browser.save(TASK, form)
    assert set(errors) == {"function_name", "args", "vars", "cronline"}
    assert errors["function_name"] == "must name the function to run"
    assert "a JSON list such as" in errors["args"] and "not a dict" in errors["args"]
    assert "a JSON dict such as" in errors["vars"] and "between 0 and 59" in errors["cronline"]
    db = app.fresh()
    assert db(db.scheduler_task.task_name == "wrong").isempty()


def test_next_run_time_alone_is_changed_and_obeyed(
    app: App, browser: Browser, worker: Worker
) -> None:
    task_id = waiting_task(app)
    later = (app.scheduler.now() + timedelta(days=3)).replace(microsecond=0)
    changed = changed_by_saving(
        app, browser, TASK, task_id, next_run_time=later.isoformat("T", "seconds")
    )
    assert changed == {"next_run_time": later}
    due = app.scheduler.now() - timedelta(minutes=1)
    assert browser.edit(TASK, task_id, next_run_time=due.isoformat("T", "minutes")) == {}
    assert result_of(app, task_id) == "7"


def test_group_alone_is_changed_and_obeyed(app: App, browser: Browser, worker: Worker) -> None:
    waiting_task(app, group_name="nowhere")
    task_id = app.queue("add", 3, 4, group_name=ELSEWHERE)
    changed = changed_by_saving(app, browser, TASK, task_id, group_name="nowhere")
    assert changed == {"group_name": "nowhere"}
    assert app.task(task_id).status == TaskStatus.QUEUED
    assert browser.edit(TASK, task_id, group_name="main") == {}
    assert result_of(app, task_id) == "7"


def test_args_alone_are_changed_and_obeyed(app: App, browser: Browser, worker: Worker) -> None:
    task_id = waiting_task(app)
    changed = changed_by_saving(app, browser, TASK, task_id, args="[40,\r\n 2]")
    assert list(changed) == ["args"]
    now = app.scheduler.now().isoformat("T", "minutes")
    assert browser.edit(TASK, task_id, next_run_time=now) == {}
    assert result_of(app, task_id) == "42"


def test_a_deleted_task_is_gone_with_its_runs_and_its_worker_goes_on(
    app: App, browser: Browser, worker: Worker, holding: tuple[int, Path]
) -> None:
    task_id, _ = holding
    assert len(app.runs(task_id)) == 1
    browser.delete(TASK, task_id)
    assert app.task(task_id) is None and app.runs(task_id) == []
    after = app.queue("add", 1, 1)  # the only slot is free again, though the gate is shut
    assert result_of(app, after) == "2"
    assert app.task(task_id) is None and app.runs(task_id) == []
    assert worker.process.poll() is None and "Traceback" not in worker.log


@pytest.mark.parametrize("status", TaskStatus.ALL)
def test_saving_a_task_unchanged_changes_nothing(app: App, browser: Browser, status: str) -> None:
    ghost = ghost_of(app)
    task = app.db.scheduler_task
    plain = task.insert(function_name="add", status=status, group_name=ELSEWHERE)
    rich = task.insert(
        application_name="lab/default",
        function_name="not there any more",
        task_name=' two\nlines & "quotes" <b> ',
        group_name=f"only {status}",
        status=status,
        args='[\n  "a\\nb",\n  "ü"\n]',
        vars="{}\r\n",
        cronline="@daily",
        next_run_time=app.scheduler.now(),
        stop_time=app.scheduler.now() + timedelta(days=1),
        assigned_worker_name=ghost if status in TaskStatus.HELD else None,
        reason="ValueError: one\ntwo",
        only_worker="",
        enabled=False,
        on_failure="continue",
    )
    app.db.commit()
    for task_id in (plain, rich):
        assert changed_by_saving(app, browser, TASK, task_id) == {}


def ghost_of(app: App) -> str:
    """A worker by the table only, that counts as alive for ever."""
    db = app.fresh()
    db.scheduler_worker.update_or_insert(
        db.scheduler_worker.worker_name == "ghost",
        worker_name="ghost",
        status=WorkerStatus.ACTIVE,
        first_heartbeat=app.scheduler.now(),
        last_heartbeat=app.scheduler.now(),
        group_names=[ELSEWHERE, "with, comma", "with space"],
        worker_stats={"pid": 0, "running": [], "text": "<ü>\n", "nothing": None},
        lease_until=4e9 + 1 / 3,
    )
    db.commit()
    return "ghost"


# -- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", RunStatus.ALL)
def test_saving_a_run_unchanged_changes_nothing(app: App, browser: Browser, status: str) -> None:
    ghost_of(app)
    task_id = app.db.scheduler_task.insert(function_name="add", group_name=ELSEWHERE)
    ended = status != RunStatus.RUNNING
    run = app.db.scheduler_run
    plain = run.insert(task_id=task_id, status=status)
    rich = run.insert(
        task_id=task_id,
        status=status,
        start_time=app.scheduler.now(),
        stop_time=app.scheduler.now() if ended else None,
        run_output="\n <10%>\r<20%>\r\n\x1b[31mred\n" + "much\n" * 50_000,
        run_result='"' + "x" * 100_000 + '"',
        traceback="Traceback:\n  here\n",
        worker_name="ghost",
        duration=1 / 3,
        reason="a\nb",
        progress={"at": 1, "of": None, "text": "ü"},
        stop_requested=True,
    )
    app.db.commit()
    for run_id in (plain, rich):
        assert changed_by_saving(app, browser, RUN, run_id) == {}


def test_what_the_engine_wrote_is_saved_unchanged(
    app: App, browser: Browser, worker: Worker
) -> None:
    good, bad = app.queue("add", 3, 4), app.queue("fail")
    app.becomes(good, TaskStatus.COMPLETED)
    app.becomes(bad, TaskStatus.FAILED)
    for task_id in (good, bad):
        assert changed_by_saving(app, browser, TASK, task_id) == {}
        assert changed_by_saving(app, browser, RUN, app.runs(task_id)[0].id) == {}


# -- workers -------------------------------------------------------------------------------------


def test_saving_a_worker_unchanged_changes_nothing(app: App, browser: Browser) -> None:
    ghost_of(app)
    row_id = app.db.scheduler_worker(worker_name="ghost").id
    assert changed_by_saving(app, browser, WORKER, row_id) == {}
    changed = changed_by_saving(app, browser, WORKER, row_id, group_names="one, two")
    assert changed == {"group_names": ["one", "two"]}


def test_a_worker_that_is_disabled_by_hand_finishes_its_run_and_takes_nothing_until_resumed(
    app: App, browser: Browser, worker: Worker, holding: tuple[int, Path]
) -> None:
    held, gate = holding
    row_id = app.worker_row(worker).id
    browser.edit(WORKER, row_id, status=WorkerStatus.DISABLED)
    eventually(lambda: "paused" in worker.log, 4, "the worker rests")
    waiting = app.queue("add", 3, 4)
    gate.touch()
    assert app.becomes(held, TaskStatus.COMPLETED) and app.runs(held)[0].run_result == '"let go"'
    beat = app.worker_row(worker).last_heartbeat
    eventually(lambda: app.worker_row(worker).last_heartbeat > beat + timedelta(seconds=1))
    assert app.task(waiting).status == TaskStatus.QUEUED
    assert app.worker_row(worker).status == WorkerStatus.DISABLED
    browser.edit(WORKER, row_id, status=WorkerStatus.ACTIVE)
    assert result_of(app, waiting) == "7"


def test_stop_task_by_hand_stops_what_runs_and_the_worker_goes_on(
    app: App, browser: Browser, worker: Worker, holding: tuple[int, Path]
) -> None:
    held, _ = holding
    row_id = app.worker_row(worker).id
    browser.edit(WORKER, row_id, status=WorkerStatus.STOP_TASK)
    app.becomes(held, TaskStatus.STOPPED)
    run = app.runs(held)[0]
    assert (run.status, run.run_output) == (RunStatus.STOPPED, "holding\n")
    eventually(lambda: app.worker_row(worker).status == WorkerStatus.ACTIVE, 5, "ACTIVE again")
    assert result_of(app, app.queue("add", 3, 4)) == "7"


def test_terminate_by_hand_makes_a_worker_leave(app: App, browser: Browser) -> None:
    leaver = app.start_worker("-w", "leaver")
    row_id = app.worker_row(leaver).id
    browser.edit(WORKER, row_id, status=WorkerStatus.TERMINATE)
    assert leaver.wait() == 0
    assert app.fresh().scheduler_worker(row_id) is None
