"""Hold the structure by reading the code: which package imports which, and what is done where."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Callable, Iterable, Iterator
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

#: Low to high: a package imports only itself and those above it in this list.
PACKAGES = """
views system core scheduling models database store queries operations
loaders execution worker doctor controllers web scheduler cli hosts browse __main__ __init__
""".split()
HEIGHT = {package: height for height, package in enumerate(PACKAGES)}
#: Whatever runs the functions of an app is kept from the tables.
NEVER_REACHES_TABLES = ("loaders", "execution")
TABLES = ("store", "queries", "operations")
#: Packages that are entered only by the modules named here.
DOORS = {
    "scheduler": {"__init__", "cli"},
    "cli": {"__main__"},
    "hosts": set(),
    "browse": set(),
    "__main__": set(),
    "__init__": set(),
}
#: Modules at the top of the package, beside `__init__` and `__main__`.
AT_THE_TOP = 5

STATUS_WORDS = set("QUEUED ASSIGNED RUNNING COMPLETED FAILED TIMEOUT STOPPED EXPIRED".split())
WRITE_STATUS = ("core.types", "scheduling.state_machine", "__init__")
ASK_THE_DATABASE = ("doctor", "models", "store", "database", "queries", "operations", "scheduler")
START_PROCESSES = (
    "system.processes",
    "execution.forkserver",
    "execution.own_process",
    "worker.launcher",  # passes signals on to its own workers
    "worker.subprocess_main",
)
WRITES = ("insert", "update", "delete")
READ_THE_TIME = ("system.clock", "execution.runner_main")  # a runner times the user's function
TELL = ("worker", "core.log_events", "scheduler", "cli")
FILE_LINES, FUNCTION_LINES, USUAL_LINES = 500, 50, 8


class Module:
    """One file of the package."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.short = name[len(ENGINE) + 1 :] or "__init__"
        self.package = self.short.split(".")[0]
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


def outside(places: Iterable[str], found: Callable[[Module], Iterator[str]]) -> list[str]:
    """What is found in other packages and modules than these."""
    return [line for module in modules() if not is_in(module, places) for line in found(module)]


def is_in(module: Module, places: Iterable[str]) -> bool:
    return any(f"{module.short}.".startswith(f"{place}.") for place in places)


# --- who calls whom -------------------------------------------------------------------------------


def test_every_package_has_its_place_in_the_order() -> None:
    assert {module.package for module in modules()} == set(PACKAGES)


def test_few_modules_lie_at_the_top() -> None:
    files = {path.stem for path in FOLDERS[ENGINE].glob("*.py")} - {"__init__", "__main__"}
    assert len(files) <= AT_THE_TOP, files


def test_a_package_imports_only_itself_and_those_below() -> None:
    up = [place for one, other, place in edges() if HEIGHT[other.package] > HEIGHT[one.package]]
    assert up == []


def test_what_runs_tasks_never_imports_what_asks_the_tables() -> None:
    wrong = [
        place
        for one, other, place in edges()
        if one.package in NEVER_REACHES_TABLES and other.package in TABLES
    ]
    assert wrong == []


def test_no_class_name_exists_twice() -> None:
    found: dict[str, list[str]] = {}
    for module in modules():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.strip("_"), []).append(module.short)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_module_comes_back_to_itself() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as ring:
        pytest.fail(" <- ".join(ring.args[1]))


def test_a_door_is_used_only_by_those_who_may() -> None:
    wrong = [
        place
        for one, other, place in edges()
        if one.package != other.package
        and one.package not in DOORS.get(other.package, {one.package})
    ]
    assert wrong == []


def test_only_what_decides_writes_the_log() -> None:
    loud = [
        place
        for one, other, place in edges()
        if other.short == "core.log_events" and not is_in(one, TELL)
    ]
    assert loud == []


# --- what is done in one place only ---------------------------------------------------------------


def test_temporary_files_are_made_in_one_module_only() -> None:
    def made(module: Module) -> Iterator[str]:
        for node in module.nodes:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "tempfile" in names or getattr(node, "module", None) == "tempfile":
                yield module.at(node, "tempfile")

    assert outside(("system.private_files",), made) == []


def test_statuses_are_written_in_two_modules_only() -> None:
    def spelled(module: Module) -> Iterator[str]:
        for node in module.nodes:
            if isinstance(node, ast.Constant) and node.value in STATUS_WORDS:
                yield module.at(node, repr(node.value))

    assert outside(WRITE_STATUS, spelled) == []


def test_the_database_is_asked_in_few_packages() -> None:
    def asked(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            if name.rpartition(".")[2] in ("db", "_db", "executesql"):
                yield module.at(node, f"{name}(")

    assert outside(ASK_THE_DATABASE, asked) == []


def test_processes_are_started_and_ended_in_few_modules() -> None:
    system = ("fork", "forkpty", "kill", "killpg", "_exit", "system", "popen")
    names = {f"os.{name}" for name in system}

    def touched(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            starts = name.startswith(("subprocess.", "multiprocessing.", "os.spawn", "os.exec"))
            if name in names or starts or name.endswith(".send_signal"):
                yield module.at(node, f"{name}(")

    assert outside(START_PROCESSES, touched) == []


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

    assert outside(READ_THE_TIME, read) == []


def test_nobody_prints_but_the_command() -> None:
    def printed(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            if name in ("print", "click.echo", "sys.stdout.write"):
                yield module.at(node, name)

    assert outside(("cli",), printed) == []


def test_private_parts_of_pydal_are_used_in_one_module() -> None:
    attributes = set("_dbname _uri _rname _itype _id _connection_uname_ _cursors_uname_".split())
    attributes |= {f"_{when}_{what}" for when in ("before", "after") for what in WRITES}
    inner = ("pydal._", "pydal.connection", "pydal.adapters", "pydal.helpers")

    def touched(module: Module) -> Iterator[str]:
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr in attributes:
                yield module.at(node, ast.unparse(node))
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("db._adapter"):
                yield module.at(node, ast.unparse(node))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(inner):
                yield module.at(node, str(node.module))

    assert outside(("system.pydal_access",), touched) == []


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

    assert outside((), evaluated) == []


def test_only_loaders_import_by_name() -> None:
    def named(module: Module) -> Iterator[str]:
        for node, name in module.calls():
            if name.endswith(("import_module", "exec_module", "spec_from_file_location")):
                yield module.at(node, name)

    assert outside(("loaders",), named) == []


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

    assert outside((), swallowed) == []
