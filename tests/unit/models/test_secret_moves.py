"""A secret argument stays hidden wherever it is moved: by place, by name, in clones and edits."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from plugin_scheduler.controllers.task_form import TaskForm
from plugin_scheduler.controllers.task_form_parser import columns_of, of_document
from plugin_scheduler.controllers.web.auth import ACT, Person
from plugin_scheduler.controllers.web.i18n import Languages
from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.template_helpers import Shown
from pydal import DAL
from support.home import scheduler_on

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.redaction import HIDDEN, Mark, as_list, masked
from plugin_scheduler.queries import Queries

HUSH = "hush"
NAMES = "abcdef"
NUMBER = itertools.count()
Kind = inspect.Parameter
Call = tuple[list[Any], dict[str, Any]]
QUICK = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # to shrink one takes minutes
)


def log_in(user: str, password: str, *, token: str = "") -> None:
    """A task."""


class Case:
    """A function, a call of it, and which of its parameters are secret."""

    def __init__(self, draw: Any) -> None:
        kinds = (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)
        counts = [draw(st.integers(0, 2)) for _ in kinds]
        names = iter(NAMES)
        self.by = {
            kind: [next(names) for _ in range(n)] for kind, n in zip(kinds, counts, strict=True)
        }
        self.by_place = [*self.by[kinds[0]], *self.by[kinds[1]]]
        self.rest = draw(st.integers(0, 2)) if draw(st.booleans()) else None
        self.more = draw(st.booleans())
        self.others = ["x", "y"] if self.more and draw(st.booleans()) else []
        self.names = [*self.by_place, *self.by[kinds[2]], *self.others]
        places = range(len(self.by_place), len(self.by_place) + (self.rest or 0))
        self.gathered = [str(place) for place in places]
        parameters = [*self.names[: len(self.names) - len(self.others)], *self.gathered]
        self.secret = set(draw(st.lists(st.sampled_from([*parameters, *self.others, ""])))) - {""}
        self.values = {
            name: f"{HUSH if name in self.secret else 'open'}-{name}"
            for name in (*self.names, *self.gathered)
        }
        self.name = f"task_{next(NUMBER)}"

    def source(self) -> str:
        parts = [f"{name}=None" for name in self.by[Kind.POSITIONAL_ONLY]]
        parts += ["/"] if parts else []
        parts += [f"{name}=None" for name in self.by[Kind.POSITIONAL_OR_KEYWORD]]
        only = [f"{name}=None" for name in self.by[Kind.KEYWORD_ONLY]]
        parts += ["*rest"] if self.rest is not None else ["*"] if only else []
        parts += only + (["**others"] if self.more else [])
        return f"def {self.name}({', '.join(parts)}): ..."

    def function(self) -> Any:
        namespace: dict[str, Any] = {}
        exec(self.source(), namespace)
        return namespace[self.name]

    def call(self, draw: Any, dots: tuple[str, ...] = ()) -> Call:
        """The same call, each argument in a way that is drawn; one of ``dots`` for a secret."""
        told = {
            name: draw(st.sampled_from(dots)) if dots and name in self.secret else value
            for name, value in self.values.items()
        }
        least, most = len(self.by[Kind.POSITIONAL_ONLY]), len(self.by_place)
        count = most if self.gathered else draw(st.integers(least, most))
        first = self.by_place[:count]
        pargs = [told[name] for name in (*first, *self.gathered)]
        return pargs, {name: told[name] for name in self.names if name not in first}

    def marks(self, draw: Any, is_known: bool) -> list[Any]:
        """What is secret as a person says it: by name, by place, or by both."""
        found = []
        for name in sorted(self.secret):
            place = self.by_place.index(name) if name in self.by_place else None
            place = int(name) if name.isdecimal() else place
            ways = [] if name.isdecimal() else [Mark(name, None)]
            ways += [] if place is None else [Mark("" if name.isdecimal() else None, place)]
            if place is not None and not name.isdecimal():
                ways.append(Mark(name, place))
            found.append(draw(st.sampled_from(ways)))
        return as_list(found)


class World:
    """A scheduler, and somebody who may act."""

    def __init__(self) -> None:
        self.db = DAL("sqlite:memory")
        self.scheduler = scheduler_on(self.db)
        self.scheduler.task(log_in, name="log_in")
        shown = Shown(Languages(), "scheduler", None)
        self.visit = Visit(self.scheduler, Person("alan", ACT), shown)

    def shown(self, task_id: int) -> str:
        """All that role `view` reads of a task, its history too."""
        task = Queries.of(self.scheduler).task(task_id)
        assert task is not None
        return f"{task.args} {task.vars}"

    def stored(self, task_id: int) -> str:
        row = self.db.scheduler_task(task_id)
        return f"{row.args} {row.vars}"

    def insert(self, case: Case, call: Call, secret: list[Any]) -> int:
        """A row that was written by hand, after its function was gone, or before it was there."""
        pargs, pvars = call
        row = {"function_name": case.name, "task_name": case.name, "secret": json.dumps(secret)}
        texts = {"args": json.dumps(pargs), "vars": json.dumps(pvars)}
        return int(self.db.scheduler_task.insert(**row, **texts))

    def form(self, task_id: int, edits: bool) -> TaskForm:
        return TaskForm(self.visit, "", self.visit.task(task_id), edits=edits)

    def clone(self, task_id: int, document: dict[str, Any]) -> tuple[int | None, Any]:
        form = self.form(task_id, edits=False)
        sent = of_document(form, document)
        if sent.errors:
            return None, sent.errors
        answer = self.scheduler.queue_task(
            sent.function, sent.pargs, sent.pvars, **columns_of(form, sent)
        )
        return answer.id, answer.errors

    def edit(self, task_id: int, document: dict[str, Any]) -> tuple[int | None, Any]:
        form = self.form(task_id, edits=True)
        sent = of_document(form, document)
        if sent.errors:
            return None, sent.errors
        columns = columns_of(form, sent)
        if sent.has_arguments:
            columns["args"] = json_codec.encode(sent.pargs, "pargs")
            columns["vars"] = json_codec.encode(sent.pvars, "pvars")
        answer = self.scheduler.edit_task(task_id, **columns)
        assert HUSH not in repr(answer.changed)
        return answer.id, answer.errors


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    one = World()
    yield one
    one.db.close()


@QUICK
@given(st.data())
def test_whoever_moves_a_secret_of_a_known_function_uncovers_nothing(
    world: World, data: st.DataObject
) -> None:
    case = Case(data.draw)
    world.scheduler.task(case.function(), name=case.name)
    call, marks = case.call(data.draw), case.marks(data.draw, True)
    answer = world.scheduler.queue_task(case.name, *call, secret=marks)
    assert not answer.errors, (case.source(), answer.errors)
    ids = [answer.id]
    if all(not isinstance(one, int) for one in marks):
        ids.append(world.insert(case, call, marks))
    if not (case.more and case.rest):  # else a lone place may have a name that nobody knows
        opened = [value for value in case.values.values() if not value.startswith(HUSH)]
        assert all(value in world.shown(answer.id) for value in opened), (case.source(), call)
    for task_id in ids:
        assert HUSH not in world.shown(task_id), (case.source(), call, marks)
        move(world, case, task_id, data)


def move(world: World, case: Case, task_id: int, data: st.DataObject) -> None:
    """Clone and edit it, with dots for each secret in whichever way it can be given."""
    for way in (world.clone, world.edit):
        pargs, pvars = case.call(data.draw, (HIDDEN,))
        secret = data.draw(st.sampled_from([[], None, [*case.names[:1]]]))
        document = {"function": case.name, "pargs": pargs, "pvars": pvars, "secret": secret}
        found, errors = way(task_id, document)
        assert not errors, (case.source(), document, errors)
        assert found is not None
        story = (case.source(), document, world.db.scheduler_task(found).as_dict())
        assert HUSH not in world.shown(found), story
        assert world.stored(found).count(HUSH) == len(case.secret), story


@QUICK
@given(st.data())
def test_where_the_function_is_gone_rather_too_much_is_hidden(
    world: World, data: st.DataObject
) -> None:
    case = Case(data.draw)
    call, marks = case.call(data.draw), case.marks(data.draw, False)
    task_id = world.insert(case, call, marks)
    assert HUSH not in world.shown(task_id), (case.source(), call, marks)
    other = case.call(data.draw, (HIDDEN, "typed"))
    halves = {"pargs": other[0], "pvars": other[1]}
    kept = data.draw(st.sampled_from([halves, {"pargs": other[0]}, {"pvars": other[1]}]))
    for way in (world.clone, world.edit):
        found, _errors = way(task_id, {"function": case.name, "secret": [], **kept})
        for one in (found, task_id):
            told = world.shown(one) if one else ""
            assert HUSH not in told, (case.source(), call, marks, kept, told)


def test_a_place_and_the_name_of_its_parameter_are_the_same(world: World) -> None:
    calls: list[Call] = [(["ann", HUSH], {}), (["ann"], {"password": HUSH})]
    for secret, (pargs, pvars) in itertools.product(([1], ["password"]), calls):
        task_id = world.scheduler.queue_task("log_in", pargs, pvars, secret=secret).id
        row = world.db.scheduler_task(task_id)
        assert json.loads(row.secret) == ["password", 1]
        assert "ann" in world.shown(task_id) and HUSH not in world.shown(task_id)


def test_a_name_that_a_function_gathers_is_hidden_though_a_place_is_called_so(
    world: World,
) -> None:
    def gather(user: str, /, **options: str) -> None: ...

    world.scheduler.task(gather, name="gather")
    given = {"user": HUSH, "x": HUSH}
    task_id = world.scheduler.queue_task("gather", ["ann"], given, secret=["options"]).id
    assert "ann" in world.shown(task_id) and HUSH not in world.shown(task_id)


@pytest.mark.parametrize(
    ("secret", "call", "shown"),
    [
        ('["password", 1]', (["ann"], {"password": HUSH}), (["ann"], {"password": HIDDEN})),
        ("[1]", (["ann"], {"password": HUSH}), (["ann"], {"password": HIDDEN})),
        ('["options"]', ([], {"token": HUSH}), ([], {"token": HIDDEN})),
        ('["token", -1, "key"]', (["ann"], {"key": HUSH}), (["ann"], {"key": HIDDEN})),
        ("[1, -1]", (["ann", HUSH], {"url": "x"}), (["ann", HIDDEN], {"url": "x"})),
    ],
)
def test_a_list_without_a_signature_hides_what_it_may_mean(
    secret: str, call: Call, shown: Call
) -> None:
    args, pvars = masked(json.dumps(call[0]), json.dumps(call[1]), secret)
    assert (json.loads(args), json.loads(pvars)) == shown


def test_a_guess_is_not_confirmed(world: World) -> None:
    """The answer to an edit is the same for the right value and for a wrong one."""
    task_id = world.scheduler.queue_task("log_in", ["ann", HUSH], secret=[1]).id
    for guess in (HUSH, "wrong"):
        for document in ({"pargs": ["ann", guess]}, {"pargs": [HIDDEN, guess], "pvars": {}}):
            sent = of_document(world.form(task_id, edits=True), document)
            assert sent.is_typed and sent.has_arguments
    kept = of_document(world.form(task_id, edits=True), {"pargs": ["ann", HIDDEN]})
    assert not kept.is_typed


def test_an_error_does_not_repeat_a_value(world: World) -> None:
    for secret in ({"password": HUSH}, [["password", HUSH]], HUSH):
        answer = world.scheduler.queue_task("log_in", ["ann", "x"], secret=secret)
        assert answer.errors and HUSH not in repr(answer.errors)
