"""Arguments that are called secret: nobody is shown them, and the task gets them all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.home import Connect, scheduler_on

from plugin_scheduler import Scheduler
from plugin_scheduler.core.redaction import HIDDEN
from plugin_scheduler.queries import Filter, Queries
from plugin_scheduler.queries.views import TaskView, plain


def log_in(user: str, password: str = "", /, *rest: str, token: str = "", **others: str) -> str:
    return user


def join(user: str, password: str, url: str = "", *, token: str = "") -> str:
    return user


@pytest.fixture
def scheduler(connect: Connect) -> Scheduler:
    one = scheduler_on(connect())
    one.task(secret=["password"])(join)
    one.task(log_in)
    return one


def seen(scheduler: Scheduler, ref: Any) -> TaskView:
    task = Queries.of(scheduler).task(ref)
    assert task is not None
    return task


def queued(scheduler: Scheduler, *given: Any, **columns: Any) -> tuple[Any, Any]:
    """What is shown of the arguments of a task that is queued."""
    answer = scheduler.queue_task(*given, **columns)
    assert not answer.errors, answer.errors
    task = seen(scheduler, answer.id)
    assert task.has_secrets
    return json.loads(task.args), json.loads(task.vars)


def stored(scheduler: Scheduler, task_id: int) -> Any:
    return scheduler.db.scheduler_task(task_id)


def refused(scheduler: Scheduler, secret: Any, function: str = "join") -> str:
    answer = scheduler.queue_task(function, ["ann", "hunter2"], secret=secret)
    assert answer.id is None and list(answer.errors) == ["secret"]
    assert scheduler.db(scheduler.db.scheduler_task).isempty()
    return str(answer.errors["secret"])


# -- what is shown -------------------------------------------------------------------------------


def test_a_secret_is_hidden_whether_it_is_given_by_place_or_by_name(scheduler: Scheduler) -> None:
    assert queued(scheduler, join, ["ann", "hunter2"]) == (["ann", HIDDEN], {})
    by_name = {"user": "ann", "password": "hunter2"}
    assert queued(scheduler, join, pvars=by_name) == ([], {**by_name, "password": HIDDEN})


def test_the_task_itself_gets_what_was_given(scheduler: Scheduler) -> None:
    task = stored(scheduler, scheduler.queue_task(join, ["ann", "hunter2"]).id)
    assert json.loads(task.args) == ["ann", "hunter2"]
    assert json.loads(task.secret) == ["password", 1]


def test_nothing_is_hidden_of_a_task_without_secrets(scheduler: Scheduler) -> None:
    task = seen(scheduler, scheduler.queue_task(log_in, ["ann", "hunter2"]).id)
    assert json.loads(task.args) == ["ann", "hunter2"] and not task.has_secrets


def test_all_of_a_secret_is_hidden_however_much_is_in_it(scheduler: Scheduler) -> None:
    pvars = {"user": "ann", "password": {"old": ["hunter1"], "new": {"is": "hunter2"}}}
    assert queued(scheduler, join, pvars=pvars)[1]["password"] == HIDDEN


def test_the_caller_can_call_more_secret_but_makes_nothing_visible(scheduler: Scheduler) -> None:
    given = ["ann", "hunter2", "https://ann:x@host"]
    assert queued(scheduler, join, given, secret=["url"])[0] == ["ann", HIDDEN, HIDDEN]
    assert queued(scheduler, join, given, secret=[])[0] == ["ann", HIDDEN, given[2]]
    assert queued(scheduler, join, given, secret=None)[0] == ["ann", HIDDEN, given[2]]


def test_places_names_and_json_of_them_are_taken(scheduler: Scheduler) -> None:
    for secret in ([1], ("password",), '["password"]', "[1]", ["password", "password", 1]):
        shown = queued(scheduler, log_in, ["ann", "hunter2"], secret=secret)
        assert shown == (["ann", HIDDEN], {}), secret


def test_an_argument_that_is_given_by_name_alone_hides_no_other(scheduler: Scheduler) -> None:
    pvars = {"password": "hunter2", "token": "abc"}
    shown = queued(scheduler, join, ["ann"], pvars, secret=["token"])
    assert shown == (["ann"], {"password": HIDDEN, "token": HIDDEN})
    assert queued(scheduler, join, ["ann", "hunter2"], secret=["token"])[0][0] == "ann"


def test_all_that_a_function_takes_besides_can_be_secret(scheduler: Scheduler) -> None:
    shown = queued(scheduler, log_in, ["ann", "x", "y", "z"], secret=["rest"])
    assert shown == (["ann", "x", HIDDEN, HIDDEN], {})
    pvars = {"token": "abc", "key": "def"}
    shown = queued(scheduler, log_in, ["ann"], pvars, secret=["others"])
    assert shown == (["ann"], {"token": "abc", "key": HIDDEN})
    assert queued(scheduler, log_in, ["ann"], pvars, secret=["key"])[1]["key"] == HIDDEN


def test_it_works_in_bulk_with_an_answer_for_each(scheduler: Scheduler) -> None:
    tasks = [{"function": "join", "pargs": ["ann", f"hunter{number}"]} for number in range(3)]
    answers = scheduler.queue_tasks([*tasks, {"function": "log_in", "pargs": [3, 4]}])
    shown = [json.loads(seen(scheduler, answer.id).args) for answer in answers]
    assert shown == [["ann", HIDDEN]] * 3 + [[3, 4]]
    wrong = scheduler.queue_tasks([*tasks, {**tasks[0], "secret": ["pasword"]}])
    assert [list(answer.errors) for answer in wrong] == [[], [], [], ["secret"]]


# -- what is refused -----------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_nearest(scheduler: Scheduler) -> None:
    assert refused(scheduler, ["pasword"]) == (
        'join has no argument "pasword"; did you mean "password"?'
    )
    assert "it has: user, password, url, token" in refused(scheduler, ["zzz"])


def test_what_is_no_list_of_names_and_places_is_refused_in_words(scheduler: Scheduler) -> None:
    for wrong in ("password", 1, True, {"password": 1}, '{"password": 1}', "[", b"password"):
        assert "must be a list of argument names or positions" in refused(scheduler, wrong), wrong
    for wrong in ([1.5], [None], [True], [""], [["password"]]):
        assert "neither the name nor the position" in refused(scheduler, wrong), wrong
    assert "counted from 0" in refused(scheduler, [-2])
    assert "takes 3 positional arguments" in refused(scheduler, [3])


def test_of_an_unknown_function_names_need_their_place_where_it_matters(connect: Connect) -> None:
    stranger = Scheduler(connect(), tasks={}, application_name="lab")
    answer = stranger.queue_task("join", ["ann", "hunter2"], secret=["password"])
    assert "give its position" in answer.errors["secret"]
    assert queued(stranger, "join", ["ann", "hunter2"], secret=["password", 1]) == (
        ["ann", HIDDEN],
        {},
    )
    assert queued(stranger, "join", ["ann"], {"password": "x"}, secret=["password"]) == (
        ["ann"],
        {"password": HIDDEN},
    )


# -- rows that were written by hand ---------------------------------------------------------------


def by_hand(scheduler: Scheduler, **columns: Any) -> tuple[Any, Any]:
    row = {"function_name": "join", "task_name": "join", "args": '["ann", "hunter2"]', **columns}
    task = seen(scheduler, scheduler.db.scheduler_task.insert(**row))
    return json.loads(task.args), json.loads(task.vars)


def test_of_a_row_written_by_hand_rather_too_much_is_hidden_than_too_little(
    scheduler: Scheduler,
) -> None:
    assert by_hand(scheduler, secret="[1]")[0] == ["ann", HIDDEN]
    assert by_hand(scheduler, secret='["password"]')[0] == [HIDDEN, HIDDEN]
    named = {"args": '["ann"]', "vars": '{"password": "x"}'}
    assert by_hand(scheduler, secret='["password"]', **named) == (["ann"], {"password": HIDDEN})


def test_of_what_cannot_be_read_nothing_is_shown(scheduler: Scheduler) -> None:
    assert by_hand(scheduler, secret="password", vars='{"a": 1}') == (
        [HIDDEN, HIDDEN],
        {"a": HIDDEN},
    )
    broken = {"args": '["ann", "hunter2"', "vars": "[1]"}
    assert by_hand(scheduler, secret="[1]", **broken) == ([HIDDEN], {HIDDEN: HIDDEN})


def test_a_form_of_the_database_admin_keeps_the_column_as_it_is(scheduler: Scheduler) -> None:
    task = stored(scheduler, scheduler.queue_task(join, ["ann", "hunter2"]).id)
    field = scheduler.db.scheduler_task.secret
    assert field.validate(task.secret, task.id) == (task.secret, None)
    assert field.validate("", task.id) == (None, None)
    assert "must be a list" in field.validate("password", task.id)[1]


# -- who else might tell --------------------------------------------------------------------------


def test_a_search_does_not_find_what_is_hidden(scheduler: Scheduler) -> None:
    secret = scheduler.queue_task(join, ["ann", "hunter2"]).id
    plain_one = scheduler.queue_task(log_in, ["bob", "hunter2"]).id
    browser = Queries.of(scheduler)
    found = [task.id for task in browser.tasks(Filter(text="hunter2")).items]
    assert found == [plain_one] and browser.count(Filter(text="hunter2")).number == 1
    assert [task.id for task in browser.tasks(Filter(text="join")).items] == [secret]


def test_no_view_holds_a_secret(scheduler: Scheduler) -> None:
    scheduler.queue_task(join, ["ann", "hunter2"], {"token": "hunter2"}, secret=["token"])
    browser = Queries.of(scheduler)
    shown = [plain(task) for task in browser.tasks(Filter()).items]
    assert shown and "hunter2" not in repr((shown, browser.overview()))
