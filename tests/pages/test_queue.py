"""The form of a task: queue, edit, and run again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from support.kit import Worker, eventually
from support.pages_kit import Page, Site
from support.routes import JSON, Asker

from plugin_scheduler.core.types import TaskStatus

TASKS = '''
    import datetime
    from typing import Literal

    @scheduler.task(timeout=90, secret=["password"])
    def send_mail(
        to: str, copies: int = 1, tone: Literal["plain", "warm"] = "warm", urgent: bool = False,
        day: datetime.date | None = None, body: str = "Hello", tags: list[str] = [],
        password: str = "",
    ) -> str:
        """Send a mail to somebody.

        Args:
            to: who gets it
            copies: how many
            password: of the mail server
        """
        return f"{to} {copies} {tone} {urgent} {day} {body} {tags} {len(password)}"

    @scheduler.task(period=300, repeats=0)
    def sweep(folder="tmp"):
        """Sweep a folder."""

    @scheduler.task
    def add(a, b):
        """Add two numbers."""
        return a + b
'''


def row(site: Site, task_id: int) -> Any:
    return site.app.task(task_id)


def sent(page: Page) -> int:
    """Press the button; return the id of the task whose page opens."""
    page.click("#send")
    page.wait_for_url(re.compile(r"/tasks/\d+$"))
    return int(page.url.rpartition("/")[2])


def queue_mail(site: Site, *pargs: Any, password: str, **columns: Any) -> int:
    """Queue a waiting mail, with the given names of secrets."""
    columns = {"start_time": "2031-05-01 09:00:00", "secret": ["password"], **columns}
    return site.app.queue("send_mail", *pargs, pvars={"password": password}, **columns)


def wrong(page: Page) -> dict[str, str]:
    """Return the error of each field."""
    page.click("#send")
    page.wait_for_selector("#errors .note")
    places = page.query_selector_all("[data-error]")
    return {one.get_attribute("data-error"): one.inner_text() for one in places if one.inner_text()}


def test_a_function_is_found_by_its_name_or_by_what_it_does(page: Page) -> None:
    page.open("queue")
    page.look("queue-functions")
    page.axe()
    page.fill("#find", "somebody mail")
    shown = page.locator("#functions li:visible")
    assert shown.count() == 1 and "send_mail(to, copies=1" in shown.inner_text()
    page.fill("#find", "nothing like it")
    assert page.is_visible("#nothing-found")
    page.fill("#find", "sweep")
    page.press("#find", "Enter")
    page.wait_for_url(re.compile("function=sweep"))
    assert page.inner_text("h1") == "sweep"


def test_a_form_asks_for_what_the_function_takes(page: Page, site: Site, worker: Worker) -> None:
    page.open("queue?function=send_mail")
    page.click("#more summary")
    page.look("queue-form")
    page.axe()
    assert "who gets it" in page.inner_text("#arg-to-hint")
    assert page.get_attribute("#arg-password", "type") == "password"
    page.fill("#arg-to", "Ann")
    page.fill("#arg-copies", "3")
    page.select_option("#arg-urgent", "true")
    page.fill("#arg-day", "2031-05-01")
    page.fill("#arg-tags", '["a"]')
    page.fill("#arg-password", "hunter2")
    task_id = sent(page)
    done = site.app.becomes(task_id, TaskStatus.COMPLETED)
    assert done.timeout == 90 and json.loads(done.secret) == ["password", 7]
    [run] = site.app.runs(task_id)
    assert json.loads(run.run_result) == "Ann 3 warm True 2031-05-01 Hello ['a'] 7"


def test_what_is_wrong_is_told_at_its_field_and_nothing_typed_is_lost(page: Page) -> None:
    page.open("queue?function=send_mail")
    page.fill("#arg-to", "Ann")
    page.fill("#arg-tags", "not a list")
    page.fill("#arg-password", "hunter2")
    page.click("#more summary")
    page.fill("#group_name", "")
    page.fill("#secret", "pasword")
    page.fill("#stop_time", "2001-01-01T00:00:00")
    page.click("#more summary")
    with page.expecting("answered 422"):
        assert "must be a JSON list" in wrong(page)["arg.tags"]
    page.fill("#arg-tags", "[]")
    with page.expecting("answered 422"):
        found = wrong(page)
    assert found["secret"] == 'send_mail has no argument "pasword"; did you mean "password"?'
    assert "must be after start_time" in found["stop_time"]
    page.look("queue-errors")
    page.axe()
    assert page.input_value("#arg-password") == "hunter2" and page.input_value("#arg-to") == "Ann"
    page.fill("#secret", "")
    page.fill("#stop_time", "")
    assert sent(page)


def test_a_schedule_is_told_in_words_while_it_is_typed(page: Page, site: Site) -> None:
    page.open("queue?function=add")
    page.fill("#arg-a", "3")
    page.fill("#arg-b", "4")
    page.check("input[value=cron]")
    page.fill("#cronline", "77 * * * *")
    page.wait_for_selector("#next .bad-text")
    page.fill("#cronline", "30 3 * * *")
    page.wait_for_selector("#next .words:not(.bad-text)")
    eventually(lambda: page.locator("#next li").count() == 5, 10)
    page.fill("#repeats", "2")
    eventually(lambda: page.locator("#next li").count() == 2, 10)
    page.look("queue-cron")
    page.axe()
    task = row(site, sent(page))
    assert (task.cronline, task.repeats, f"{task.next_run_time:%H:%M}") == (
        "30 3 * * *",
        2,
        "03:30",
    )
    assert json.loads(task.vars) == {"a": 3, "b": 4}


def test_it_can_run_at_a_time_or_over_and_over(page: Page, site: Site) -> None:
    page.open("queue?function=add")
    page.fill("#arg-a", "3")
    page.fill("#arg-b", "four")
    page.check("input[value=at]")
    with page.expecting("answered 422"):
        assert wrong(page) == {"start_time": "enter a time"}
    page.fill("#start_time", "2031-05-01T09:30:00")
    task = row(site, sent(page))
    assert str(task.next_run_time) == "2031-05-01 09:30:00" and task.repeats == 1
    assert json.loads(task.vars) == {"a": 3, "b": "four"}
    page.open("queue?function=sweep")
    assert page.is_checked("input[value=every]") and page.input_value("#every") == "5"
    assert page.input_value("select[name=unit]") == "minutes"
    page.fill("#every", "2")
    page.select_option("select[name=unit]", "hours")
    eventually(lambda: "every 2 hours" in page.inner_text("#next .words"), 10)
    task = row(site, sent(page))
    assert (task.period, task.repeats, json.loads(task.vars)) == (7200, 0, {})


def test_json_says_what_a_form_cannot(page: Page, site: Site) -> None:
    page.open("queue?function=add")
    page.click("button[data-mode=json]")
    assert json.loads(page.input_value("#document"))["function"] == "add"
    page.look("queue-json")
    page.axe()
    page.fill("#document", '{"function": "add", "pargs": [1,')
    with page.expecting("answered 422"):
        assert "is not valid JSON: line 1" in wrong(page)["document"]
    page.fill("#document", '{"function": "add", "pargs": [1], "colour": 1, "status": "FAILED"}')
    with page.expecting("answered 422"):
        page.click("#send")
        page.wait_for_selector("#errors .note")
    told = page.inner_text("#errors")
    assert "cannot be called with these arguments: missing a required argument: 'b'" in told
    assert "colour: unknown field" in told and "status: " in told
    page.fill("#document", '{"function": "add", "pargs": [[1], [2]], "uuid": "mine"}')
    task = row(site, sent(page))
    assert (json.loads(task.args), task.uuid) == ([[1], [2]], "mine")


def test_what_was_typed_goes_along_from_the_form_to_the_json(page: Page, site: Site) -> None:
    page.open("queue?function=send_mail")
    page.fill("#arg-to", "Ann")
    page.fill("#arg-copies", "3")
    page.check("input[value=every]")
    page.click("button[data-mode=json]")
    eventually(lambda: page.is_visible("#document"), 10)
    document = json.loads(page.input_value("#document"))
    assert document["pvars"] == {"to": "Ann", "copies": 3} and document["repeats"] == 0
    assert json.loads(row(site, sent(page)).vars) == {"to": "Ann", "copies": 3}
    task_id = queue_mail(site, "Ann", password="hunter2")
    page.open(f"tasks/{task_id}/edit")
    page.fill("#arg-to", "Bob")
    page.click("button[data-mode=json]")
    eventually(lambda: page.is_visible("#document"), 10)
    document = json.loads(page.input_value("#document"))
    assert document["pvars"] == {"to": "Bob", "password": "••••••"}
    assert sent(page) == task_id
    assert json.loads(row(site, task_id).vars) == {"to": "Bob", "password": "hunter2"}


def test_a_task_that_waits_is_edited_and_it_is_kept_who_did_it(page: Page, site: Site) -> None:
    task_id = queue_mail(site, "Ann", 2, password="hunter2")
    page.open(f"tasks/{task_id}/edit")
    assert "hunter2" not in page.content()
    page.look("queue-edit")
    page.axe()
    assert page.input_value("#next_run_time") == "2031-05-01T09:00"
    assert page.input_value("#arg-to") == "Ann" and page.input_value("#arg-password") == ""
    page.fill("#arg-to", "Bob")
    page.fill("#priority", "5")
    page.fill("#next_run_time", "2031-06-01T10:00:00")
    assert sent(page) == task_id
    task = row(site, task_id)
    assert (task.priority, str(task.next_run_time)) == (5, "2031-06-01 10:00:00")
    assert json.loads(task.vars) == {"to": "Bob", "copies": 2, "password": "hunter2"}
    page.open("history")
    told = page.inner_text("#history tbody tr >> nth=0")
    assert "dashboard" in told and "priority: 0 → 5" in told and "hunter2" not in page.content()


def test_a_form_saved_late_overwrites_nothing(page: Page, site: Site) -> None:
    task_id = site.app.queue("add", 3, 4, start_time="2031-05-01 09:00:00")
    page.open(f"tasks/{task_id}/edit")
    row(site, task_id).update_record(priority=9, group_name="mail")
    site.app.db.commit()
    page.fill("#priority", "5")
    with page.expecting("answered 422"):
        assert "was changed in the meantime" in wrong(page)["priority"]
    page.fill("#priority", "0")
    page.fill("#timeout", "7")
    assert sent(page) == task_id
    task = row(site, task_id)
    assert (task.priority, task.group_name, task.timeout) == (9, "mail", 7)


def test_what_does_not_wait_is_not_edited(page: Page, site: Site) -> None:
    task_id = site.app.queue("add", 3, 4, start_time="2031-05-01 09:00:00")
    page.open(f"tasks/{task_id}/edit")
    row(site, task_id).update_record(status=TaskStatus.COMPLETED)
    site.app.db.commit()
    page.fill("#priority", "5")
    with page.expecting("answered 400"):
        page.click("#send")
        page.wait_for_selector("#errors .note")
    assert "has ended (COMPLETED)" in page.inner_text("#errors")
    with page.expecting("answered 400"):
        page.open(f"tasks/{task_id}/edit")
    assert "run it again with other arguments" in page.inner_text("main")


def test_a_task_is_run_again_with_other_arguments_and_keeps_its_secrets(
    page: Page, site: Site
) -> None:
    columns = {"period": 60, "repeats": 0, "group_name": "mail", "priority": 3}
    task_id = queue_mail(site, "Ann", password="hunter2", secret=["password", 7], **columns)
    page.open(f"queue?like={task_id}&once=1")
    assert page.inner_text("h1") == "Run again: send_mail" and "hunter2" not in page.content()
    assert page.is_checked("input[value=now]")
    page.fill("#arg-to", "Bob")
    task = row(site, sent(page))
    assert task.id != task_id and (task.repeats, task.priority) == (1, 3)
    assert json.loads(task.vars) == {"to": "Bob", "password": "hunter2"}
    page.open(f"queue?like={task_id}")
    assert page.is_checked("input[value=every]")
    page.fill("#arg-password", "hunter3")
    task = row(site, sent(page))
    assert task.repeats == 0 and json.loads(task.vars) == {"to": "Ann", "password": "hunter3"}
    page.open(f"queue?like={task_id}")
    page.click("button[data-mode=json]")
    document = json.loads(page.input_value("#document"))
    assert document["pvars"] == {"password": "••••••"} and "hunter" not in page.content()
    task = row(site, sent(page))
    assert json.loads(task.args) == ["Ann"] and task.repeats == 0
    assert json.loads(task.vars) == {"password": "hunter2"}


def test_what_a_task_was_given_is_shown_as_json_where_it_does_not_fit_the_form(
    page: Page, site: Site
) -> None:
    task_id = site.app.queue("send_mail", 3, 4, 5, 6, 7, 8, 9, 10, 11)
    page.open(f"queue?like={task_id}")
    assert "do not fit the form" in page.inner_text("main")
    assert json.loads(page.input_value("#document"))["pargs"][0] == 3


def test_who_may_only_look_cannot_queue(visit: Callable[..., Page], site: Site) -> None:
    page = visit("vera")
    page.open("queue?function=add")
    assert page.locator("#send").count() == 0
    assert "Read-only: your role cannot queue or edit tasks." in page.inner_text("main")
    task_id = queue_mail(site, "Ann", password="hunter2")
    for path in (f"tasks/{task_id}/edit", f"queue?like={task_id}"):
        page.open(path)
        assert page.locator("#send").count() == 0 and "hunter2" not in page.content()


def test_scripts_ask_what_there_is_and_queue_it(page: Page, site: Site) -> None:
    page.open("queue")
    found = page.evaluate("Scheduler.get(Scheduler.base + '/api/functions')")["functions"]
    assert [one["name"] for one in found] == ["add", "send_mail", "sweep"]
    assert 'folder="tmp"' in found[2]["call"] and "password=••••••" in found[1]["call"]
    assert found[1]["arguments"][0] == {
        **{"name": "to", "kind": "text", "required": True, "default": None},
        **{"choices": [], "gathers": "", "help": "who gets it"},
    }
    post = "given => Scheduler.post(Scheduler.base + '/api/tasks', given)"
    made = page.evaluate(post, {"function": "add", "pargs": [3, 4], "priority": 2})
    task = row(site, made["id"])
    assert (task.uuid, task.priority, json.loads(task.args)) == (made["uuid"], 2, [3, 4])
    quiet = "given => Scheduler.post(Scheduler.base + '/api/tasks', given).catch(e => e.body)"
    with page.expecting("answered 422"):
        answer = page.evaluate(quiet, {"function": "nope", "period": "soon"})
    assert set(answer["errors"]) == {"function", "period"}


def test_a_script_is_told_what_is_no_json_or_would_be_changed(site: Site) -> None:
    asker, before = Asker(site, "adele"), site.app.fresh()(site.app.db.scheduler_task).count()
    for body, status, why in (
        ('{"function": "add", "pargs": [NaN, 1]}', 400, "NaN is not JSON"),
        ('{"function": "add", "pargs": [1e400, 1]}', 400, "1e400 is not JSON"),
        (
            '{"function": "add", "function": "sweep"}',
            400,
            'the key \\"function\\" occurs twice',
        ),
        ('{"function": "sweep", "task_name": "a\\u0000b"}', 422, "contains a NUL character"),
        ('{"function": "sweep", "group_name": "a,b"}', 422, "which separates group names"),
        ('{"function": "sweep", "timeout": 2147483648}', 422, "2147483647"),
        ('{"function": "sweep", "enabled": null}', 422, "must be True or False"),
        ('{"function": "add", "pargs": [1]}', 422, "missing a required argument: 'b'"),
    ):
        headers = {"Origin": site.root, "X-Scheduler-Token": asker.token}
        headers["Content-Type"] = "application/json"
        answer = asker.ask("POST", "api/tasks", JSON, data=body, headers=headers)
        assert (answer.status_code, why in answer.text) == (status, True), answer.text
    assert site.app.fresh()(site.app.db.scheduler_task).count() == before


def test_in_italian_too(visit: Callable[..., Page]) -> None:
    page = visit(locale="it-IT")
    page.open("queue?function=send_mail")
    page.look("queue-italian")
    text = page.inner_text("main")
    assert "Pianificazione" in text and "obbligatorio" in text and "Argomenti" in text
