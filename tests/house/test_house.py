"""The house's plan, held by reading the code: who calls whom, and what is done in one room only."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Callable, Iterator
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "plugin_scheduler"
FOLDERS = {
    ENGINE: ROOT / "plugin_scheduler",
    f"{ENGINE}.models": ROOT / "models",
    f"{ENGINE}.controllers": ROOT / "controllers",
    f"{ENGINE}.views": ROOT / "views",
}

#: Low to high; a room calls rooms of its own floor and of those below.
_FLOORS = """
visible_text private_files log_outlet row_values
views errors clock records current log sentences reasons worker_events spelling
cron cronwords recurrence graph settings values secrecy task_call error_text catalog arguments tally
column_types
lifecycle forecast columns capture wire file_locks lines signals lane board frames typed
models
doorbell dialects
store presence sight blame headway browse journal
process_state run_boundary
hosts processes streams runs own_process runner nursery crew births pool porter
event_queue claim_health outage zones identity listening ticker staying known_functions
intake reporting supervisor boot launch vitals
checks queueing questions editing orders jobs acts doctor
controllers
pages
api
desk display argv
terminal cli maintenance
__main__ entry __init__
"""
FLOORS = tuple(tuple(floor.split()) for floor in _FLOORS.strip().splitlines())
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
#: What is logged is decided by those who direct, not by their hands.
TELL_FROM = HEIGHT["outage"]
#: Doors, and who may open them.
DOORS = {
    "api": {"__init__", "desk"},
    "cli": {"__main__"},
    "terminal": {"cli", "maintenance"},
    "maintenance": {"cli"},
    "entry": set(),
    "__main__": set(),
    "__init__": set(),
}

STATUS_WORDS = set("QUEUED ASSIGNED RUNNING COMPLETED FAILED TIMEOUT STOPPED EXPIRED".split())
_QUERIES = "doctor models store dialects browse journal api questions orders jobs acts"
QUERIES = set(_QUERIES.split())
PROCESSES = {
    "nursery",
    "processes",
    "own_process",
    "launch",
    "entry",
}  # launch passes signals on to its own workers
TIME = {"clock", "runner"}  # a runner times what the user's function takes; nobody turns its clock
FILE_LINES, FUNCTION_LINES, USUAL_LINES = 500, 50, 8


class Module:
    """One file of the package."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.short = name[len(ENGINE) + 1 :] or "__init__"
        self.room = self.short.split(".")[0]
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.nodes = list(ast.walk(self.tree))

    def at(self, node: ast.AST, what: str) -> str:
        line: int = getattr(node, "lineno", 0)
        return f"{self.path.relative_to(ROOT)}:{line}: {what}"

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node, ast.unparse(node.func)

    def line(self, node: ast.AST) -> str:
        return self.text.splitlines()[getattr(node, "lineno", 1) - 1]


@lru_cache
def modules() -> tuple[Module, ...]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path)
    return tuple(found.values())


@lru_cache
def imports() -> dict[str, dict[str, int]]:
    """For each module the modules of ours that it imports, at the top or later, with a line."""
    names = {module.name for module in modules()}
    edges: dict[str, dict[str, int]] = {name: {} for name in names}
    for module in modules():
        for node in module.nodes:
            targets = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, module.at(node, "a relative import")
                base = node.module or ""
                full = [f"{base}.{alias.name}" for alias in node.names]
                targets = [name if name in names else base for name in full]
            for target in targets:
                if target in names:
                    edges[module.name].setdefault(target, getattr(node, "lineno", 1))
    return edges


def by_name(name: str) -> Module:
    return next(module for module in modules() if module.name == name)


def edges() -> Iterator[tuple[Module, Module, str]]:
    for name, targets in imports().items():
        for target, line in targets.items():
            one, other = by_name(name), by_name(target)
            place = f"{one.path.relative_to(ROOT)}:{line}: {one.short} calls {other.short}"
            yield one, other, place


def outside(rooms: set[str], found: Callable[[Module], Iterator[str]]) -> list[str]:
    """What is found in other rooms than these."""
    return [place for module in modules() if module.room not in rooms for place in found(module)]


# --- who calls whom -------------------------------------------------------------------------------


def test_every_room_stands_on_a_floor() -> None:
    assert {module.room for module in modules()} <= set(HEIGHT)


def test_a_room_calls_only_rooms_on_its_own_floor_or_below() -> None:
    up = [place for one, other, place in edges() if HEIGHT[other.room] > HEIGHT[one.room]]
    assert up == []


def test_no_module_comes_back_to_itself() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as ring:
        pytest.fail(" <- ".join(ring.args[1]))


@pytest.mark.parametrize("room", ["runner", "pool"])
def test_who_runs_a_task_never_meets_the_store_by_whatever_way(room: str) -> None:
    seen, todo = set(), [f"{ENGINE}.{room}"]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += imports()[name]
    assert not [name for name in seen if by_name(name).room in ("store", "browse", "porter")]


def test_nobody_comes_in_by_a_door_but_those_who_are_meant_to() -> None:
    wrong = [
        place
        for one, other, place in edges()
        if one.room != other.room and one.room not in DOORS.get(other.room, {one.room})
    ]
    assert wrong == []


def test_only_those_who_direct_log() -> None:
    loud = [
        place
        for one, other, place in edges()
        if other.room == "log" and HEIGHT[one.room] < TELL_FROM
    ]
    assert loud == []


# --- what is done in one room only ----------------------------------------------------------------


def test_temporary_files_are_made_in_one_module_only() -> None:
    def made(module: Module) -> Iterator[str]:
        for node in module.nodes:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "tempfile" in names or getattr(node, "module", None) == "tempfile":
                yield module.at(node, "tempfile")

    assert outside({"private_files"}, made) == []


def test_status_words_are_spelled_in_records_and_lifecycle_only() -> None:
    def spelled(module: Module) -> Iterator[str]:
        for node in module.nodes:
            if isinstance(node, ast.Constant) and node.value in STATUS_WORDS:
                yield module.at(node, repr(node.value))

    assert outside({"records", "lifecycle", "__init__"}, spelled) == []


def test_the_database_is_asked_in_its_own_rooms_only() -> None:
    def asked(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            if name.rpartition(".")[2] in ("db", "_db", "executesql"):
                yield module.at(node, f"{name}(")

    assert outside(QUERIES, asked) == []


def test_processes_are_started_and_ended_in_few_rooms() -> None:
    system = ("fork", "forkpty", "kill", "killpg", "_exit", "system", "popen")
    names = {f"os.{name}" for name in system}

    def touched(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            starts = name.startswith(("subprocess.", "multiprocessing.", "os.spawn", "os.exec"))
            if name in names or starts or name.endswith(".send_signal"):
                yield module.at(node, f"{name}(")

    assert outside(PROCESSES, touched) == []


def test_time_is_read_from_the_clock_that_was_given() -> None:
    hands = {"time.time", "time.monotonic", "time.perf_counter", "time.sleep"}

    def read(module: Module) -> Iterator[str]:
        for node in module.nodes:
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            wall = name.endswith(
                ("datetime.now", "datetime.utcnow", "date.today", "datetime.today")
            )
            if name in hands or wall:
                yield module.at(node, name)

    assert outside(TIME, read) == []


def test_nobody_prints_but_the_command() -> None:
    def printed(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            if name in ("print", "click.echo", "sys.stdout.write"):
                yield module.at(node, name)

    assert outside({"cli", "terminal", "maintenance"}, printed) == []


def test_pydals_inner_parts_are_touched_by_dialects_only() -> None:
    def touched(module: Module) -> Iterator[str]:
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr == "_adapter":
                yield module.at(node, ast.unparse(node))

    assert outside({"dialects"}, touched) == []


def test_no_text_becomes_code() -> None:
    banned = {"eval", "exec", "compile", "__import__"}
    loaders = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}

    def evaluated(module: Module) -> Iterator[str]:
        for call, name in module.calls():
            if name in banned:
                yield module.at(call, name)
        for node in module.nodes:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name.partition(".")[0] in loaders:
                    yield module.at(node, name)

    assert outside(set(), evaluated) == []


def test_only_hosts_import_what_is_named_by_a_text() -> None:
    def named(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            if name.endswith(("import_module", "exec_module", "spec_from_file_location")):
                yield module.at(node, name)

    assert outside({"hosts"}, named) == []


# --- sizes and words ------------------------------------------------------------------------------


def test_a_file_fits_on_a_few_screens() -> None:
    files = [module.path for module in modules()] + sorted((ROOT / "tests").rglob("*.py"))
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


def _functions() -> Iterator[tuple[str, int]]:
    """Each function's place and length without its docstring."""
    for module in modules():
        for node in module.nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first, count = node.body[0], (node.end_lineno or 0) - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    count -= (first.end_lineno or 0) - first.lineno + 1
                yield module.at(node, node.name), count


def test_a_function_fits_on_one_screen_and_most_are_small() -> None:
    counts = dict(_functions())
    assert {place: count for place, count in counts.items() if count > FUNCTION_LINES} == {}
    assert statistics.median(counts.values()) < USUAL_LINES


def test_every_module_says_what_it_is_for() -> None:
    silent = [m.short for m in modules() if m.text.strip() and ast.get_docstring(m.tree) is None]
    assert silent == []


def test_whoever_swallows_every_error_says_why_on_the_same_line() -> None:
    def swallowed(module: Module) -> Iterator[str]:
        for node in module.nodes:
            if isinstance(node, ast.ExceptHandler):
                kind = ast.unparse(node.type) if node.type else "everything"
                if isinstance(node.body[-1], ast.Raise):
                    continue  # it passes the error on
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                kind = ast.unparse(node.args[0])
            else:
                continue
            catches_all = kind in ("everything", "Exception", "BaseException")
            if catches_all and "#" not in module.line(node):
                yield module.at(node, kind)

    assert outside(set(), swallowed) == []
