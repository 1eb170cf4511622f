"""The forms of a task show no secret, wherever it is, and lose none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.pages_kit import Site
from support.routes import JSON, Asker

from plugin_scheduler.core.redaction import HIDDEN

HUSH = "hush7kqxzvj"
TASKS = """
    from typing import Literal

    @scheduler.task
    def gather(user, *rest, **options): ...

    @scheduler.task(secret=["rest", "options"])
    def hide(user, *rest, **options): ...

    @scheduler.task(secret=[1])
    def placed(user, pin="hush7kqxzvj"): ...

    @scheduler.task(secret=["tone"])
    def choose(tone: Literal["warm", "cold"] = "warm"): ...

    @scheduler.task
    def log_in(user, password=""): ...
"""
SENT = {"when": "at", "next_run_time": "2031-05-01T09:00:00", "start_time": "2031-05-01T09:00:00"}

COLUMNS = {"group_name": "main", "on_failure": "stop", "priority": 0, "period": 60, "timeout": 60}
COLUMNS |= {"retry_failed": 0, "sync_output": 0}


@pytest.fixture(scope="module")
def act(site: Site) -> Iterator[Asker]:
    one = Asker(site, "alan")
    yield one
    one.session.close()


def waiting(site: Site, function: str, *pargs: Any, **columns: Any) -> int:
    """A waiting task, queued by a program."""
    return site.app.queue(function, *pargs, start_time="2031-05-01 09:00:00", **columns)


def change(site: Site, task_id: int, **columns: Any) -> None:
    """Write a row into the table by hand."""
    db = site.app.fresh()
    db(db.scheduler_task.id == task_id).update(**columns)
    db.commit()


def forms_of(act: Asker, task_id: int) -> str:
    paths = (f"tasks/{task_id}/edit", f"queue?like={task_id}", f"queue?like={task_id}&once=1")
    answers = [act.ask("GET", path) for path in paths]
    assert [one.status_code for one in answers] == [200] * 3
    return "".join(one.text for one in answers)


def document(act: Asker, **given: Any) -> Any:
    answer = act.change("queue/document", JSON, **SENT, **given)
    assert HUSH not in answer.text
    assert answer.ok, answer.text
    return json.loads(answer.json()["document"])


def given_to(site: Site, task_id: int) -> tuple[Any, Any]:
    row = site.app.task(task_id)
    return json.loads(row.args), json.loads(row.vars)


def test_a_form_tells_no_secret_among_what_a_function_gathers(site: Site, act: Asker) -> None:
    for task_id in (
        waiting(site, "gather", "ann", pvars={"token": HUSH}, secret=["token"]),
        waiting(site, "gather", "ann", "x", HUSH, secret=[2]),
    ):
        text = forms_of(act, task_id)
        assert HUSH not in text and HIDDEN in text and "ann" in text
        before = given_to(site, task_id)
        saved = {"arg.user": "ann", "task_name": "new", **COLUMNS, **SENT}
        answer = act.change(f"tasks/{task_id}/edit", JSON, **saved)
        assert answer.ok, answer.text
        assert given_to(site, task_id) == before and HUSH not in forms_of(act, task_id)


def test_the_form_of_a_task_is_for_no_other_function(site: Site, act: Asker) -> None:
    task_id = waiting(site, "log_in", pvars={"user": "a", "password": HUSH}, secret=["password"])
    for function in ("gather", "nonesuch"):
        answers = [
            act.ask("GET", f"queue?like={task_id}&function={function}"),
            act.change("queue/document", JSON, like=task_id, function=function, **SENT),
        ]
        for answer in answers:
            assert answer.status_code in range(400, 500) and HUSH not in answer.text


def test_a_document_has_dots_where_no_form_can_say_it(site: Site, act: Asker) -> None:
    task_id = waiting(site, "log_in", "ann", HUSH, secret=["password", 1])
    change(site, task_id, function_name="gone")
    assert document(act, like=task_id)["pargs"] == ["ann", HIDDEN]


def test_gathered_secrets_are_as_many_dots_and_are_kept(site: Site, act: Asker) -> None:
    for pargs, pvars in ((["ann", HUSH, "x"], {}), (["ann"], {"token": HUSH})):
        secret = ["rest", 1, 2, -1, "options", -1, "token", -1]
        task_id = waiting(site, "hide", *pargs, pvars=pvars, secret=secret)
        said = document(act, edits=task_id, **COLUMNS, **{"arg.user": "bob"})
        more = [HIDDEN] * (len(pargs) - 1)
        found = [*said["pargs"], *said["pvars"].values()]
        assert said["pvars"].keys() - {"user"} == pvars.keys()
        assert sorted(found) == sorted(["bob", *more, *dict.fromkeys(pvars, HIDDEN).values()])
        sent = {"mode": "json", "document": json.dumps(said)}
        answer = act.change(f"tasks/{task_id}/edit", JSON, **sent)
        assert answer.ok, answer.text
        assert str(given_to(site, task_id)).count(HUSH) == 1


def test_who_edits_or_clones_a_task_uncovers_nothing(site: Site, act: Asker) -> None:
    task_id = waiting(site, "log_in", "ann", HUSH, secret=["password", 1])
    sent = {"mode": "json", "document": json.dumps({"secret": [], "priority": 3})}
    assert act.change(f"tasks/{task_id}/edit", JSON, **sent).ok
    assert site.app.task(task_id).priority == 3
    changed = {
        act.change(f"tasks/{task_id}/edit", JSON, mode="json", document=json.dumps(said)).text
        for said in ({"pargs": ["ann", HUSH]}, {"pargs": ["ann", "a guess"]})
    }
    assert len(changed) == 1 and '["args", "vars"]' in changed.pop()
    change(site, task_id, args=json.dumps(["ann", HUSH]))
    cloned = {"arg.user": "ann", "secret": "", "like": task_id, **SENT}
    answer = act.change("queue", JSON, **cloned)
    assert answer.ok, answer.text
    for one in (task_id, answer.json()["id"]):
        assert HUSH in str(given_to(site, one))
        assert HUSH not in act.ask("GET", f"tasks/{one}").text + forms_of(act, one)


def test_a_secret_by_place_stays_hidden_where_its_name_is_given(site: Site, act: Asker) -> None:
    task_id = waiting(site, "log_in", "ann", HUSH, secret=[1])
    said = {"function": "log_in", "pargs": ["ann"], "pvars": {"password": HIDDEN}, "secret": []}
    sent = {"mode": "json", "document": json.dumps(said)}
    cloned = act.change("queue", JSON, like=task_id, **sent)
    assert cloned.ok and act.change(f"tasks/{task_id}/edit", JSON, **sent).ok
    vera = Asker(site, "vera")
    for one in (task_id, cloned.json()["id"]):
        assert given_to(site, one) == (["ann"], {"password": HUSH})
        for path in (f"tasks/{one}", f"api/tasks/{one}", "tasks", "history"):
            assert HUSH not in vera.ask("GET", path).text
    vera.session.close()


def test_dots_are_not_filled_in_for_another_function(site: Site, act: Asker) -> None:
    task_id = waiting(site, "log_in", "ann", HUSH, secret=["password", 1])
    said = {"function": "gather", "secret": []}
    for more in ({}, {"pargs": [HIDDEN, HIDDEN]}, {"pargs": [], "pvars": {"password": HIDDEN}}):
        sent = {"mode": "json", "document": json.dumps({**said, **more})}
        paths = [(f"tasks/{task_id}/edit", sent)]
        paths += [("queue", {**sent, "like": task_id})] if more else []
        for path, form in paths:
            answer = act.change(path, JSON, **form)
            assert answer.status_code == 422 and "dots stand for" in answer.text, more
    assert site.app.task(task_id).function_name == "log_in"
    sent = {"mode": "json", "document": json.dumps({**said, "pargs": ["bob"], "pvars": {}})}
    assert act.change(f"tasks/{task_id}/edit", JSON, **sent).ok
    assert site.app.task(task_id).function_name == "gather"


@pytest.mark.parametrize("odd", ["1e400", "NaN", "-Infinity", '{"a": 1, "a": 2}'])
def test_a_body_is_json_in_its_strict_sense(act: Asker, odd: str) -> None:
    headers = {"Origin": act.site.root, "X-Scheduler-Token": act.token}
    headers["Content-Type"] = "application/json"
    body = f'{{"function": "log_in", "pargs": [{odd}]}}'
    answer = act.ask("POST", "api/tasks", JSON, data=body, headers=headers)
    assert answer.status_code in (400, 403), answer.text
    assert act.site.app.fresh()(act.site.app.db.scheduler_task.args.contains("nfinity")).isempty()


def test_no_list_of_functions_tells_the_default_of_a_secret(act: Asker) -> None:
    for path in ("queue", "api/functions", "queue?function=placed"):
        assert HUSH not in act.ask("GET", path).text, path
    about = {one["name"]: one for one in act.ask("GET", "api/functions").json()["functions"]}
    assert about["placed"]["arguments"][1]["default"] == HIDDEN


def test_a_secret_choice_does_not_say_what_is_usual(act: Asker) -> None:
    text = act.ask("GET", "queue?function=choose").text
    assert "Default</option>" in text and "None</option>" not in text


@pytest.mark.parametrize("odd", ["\u00b2", "--5"])
def test_odd_digits_are_answered_in_words(site: Site, act: Asker, odd: str) -> None:
    task_id = waiting(site, "log_in", "ann")
    for given in ({"priority": odd}, {"when": "every", "every": odd}, {"secret": odd}):
        sent = {**SENT, "arg.user": "ann", "function": "log_in", **given}
        answer = act.change("queue", JSON, **sent)
        assert answer.status_code == 422 and answer.json()["errors"], given
    for query in (f"line=0 3 * * *&repeats={odd}", f"mode=every&every={odd}"):
        assert act.ask("GET", f"api/next?{query}").status_code == 200, query
    change(site, task_id, only_worker=odd)
    assert act.ask("GET", f"tasks/{task_id}/edit").status_code == 200
