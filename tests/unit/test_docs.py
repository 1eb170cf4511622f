"""The docs say what is: links lead somewhere, code compiles, names are told, tests named exist."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

import plugin_scheduler
from plugin_scheduler.cli.main import EPILOG
from plugin_scheduler.core import log_events
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.scheduling import state_machine

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

LINK = re.compile(r"\]\(([^()\s]+)\)")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEST_NAME = re.compile(r"`(test_\w+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONGEST = 110  # characters of a line; rows of tables may need more


@lru_cache
def make_reference() -> ModuleType:
    path = ROOT / "docs" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


def anchors(page: Path) -> set[str]:
    """What a heading is called in an address."""
    headings = HEADING.findall(page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_example_compiles(page: Path) -> None:
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), start=1):
        compile(block, f"{page.name}, example {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lines_are_of_a_readable_length(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert not [line for line in lines if len(line) > LONGEST and not line.startswith("|")]


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_the_reference_says_what_the_code_says() -> None:
    assert make_reference().stale() == [], "run: make reference"


def test_every_public_name_is_in_the_reference() -> None:
    told = reference("api.md")
    for name in plugin_scheduler.__all__:
        assert f"### {name}\n" in told or f"`{name}`" in told, name


def test_every_method_of_the_scheduler_is_in_the_reference() -> None:
    told = reference("api.md")
    methods = [name for name in dir(plugin_scheduler.Scheduler) if not name.startswith("_")]
    for name in methods:
        assert f"#### Scheduler.{name}\n" in told or f"`{name}`" in told, name


def test_every_setting_move_and_event_is_in_the_reference() -> None:
    for option in fields(Settings):
        assert f"`{option.name}`" in reference("settings.md"), option.name
    for move in state_machine.MOVES:
        assert f"`{move}`" in reference("states.md"), move
    for event in log_events.EVENTS:
        assert f"**{event}**" in reference("log-events.md"), event


def test_the_picture_shows_every_status_and_every_move() -> None:
    picture = (ROOT / "docs" / "pictures" / "life-of-a-task.svg").read_text("utf-8")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"<text[^>]*>([^<]+)", picture))))
    assert words >= {*plugin_scheduler.TASK_STATUS, *state_machine.MOVES}


def test_every_package_is_in_the_architecture() -> None:
    told = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for path in (ROOT / "plugin_scheduler").iterdir():
        name = path.stem if path.suffix == ".py" else f"{path.name}/"
        if not name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file()):
            assert f"| `{name}` |" in told, name


def test_every_test_that_is_named_as_a_proof_is_there() -> None:
    files = (path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", "\n".join(files), re.MULTILINE))
    for page in PAGES:
        if page.name != "CONTRIBUTING.md":
            assert set(TEST_NAME.findall(page.read_text("utf-8"))) <= there, page.name


def test_the_unit_in_the_docs_is_the_one_to_copy() -> None:
    page = (ROOT / "docs" / "how-to" / "deploy-with-systemd.md").read_text("utf-8")
    shown = page.partition("```ini\n")[2].partition("```")[0].split()
    unit = (ROOT / "deploy" / "plugin-scheduler@.service").read_text("utf-8")
    service = unit.partition("[Service]")[2].partition("[Install]")[0].splitlines()
    kept = "\n".join(line for line in service if not line.startswith("#"))
    assert shown == ["[Service]", *kept.split()]


def test_the_help_names_every_exit_code_of_a_worker() -> None:
    page = (ROOT / "docs" / "how-to" / "deploy-with-systemd.md").read_text("utf-8")
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    told = EPILOG.partition("Exit codes: ")[2].partition(". ")[0]
    assert codes == re.findall(r"(?:^|,\s)(\d+) ", told)
