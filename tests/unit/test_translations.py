"""Everything that pages say is there in every language, and nothing else is."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.controllers.web.i18n import Languages
from plugin_scheduler.controllers.web.routing import NAVIGATION, script_texts
from plugin_scheduler.views import FOLDER
from support.kit import REPOSITORY

from plugin_scheduler.core import reasons, worker_events
from plugin_scheduler.operations.bulk_actions import ACTS
from plugin_scheduler.queries import views
from plugin_scheduler.scheduling import recurrence

TRANSLATIONS = FOLDER / "translations"
OTHERS = sorted(one for one in TRANSLATIONS.iterdir() if one.is_dir() and one.name != "en")
FILES = sorted(TRANSLATIONS.glob("*/*.json"))
ENGINE = [REPOSITORY / "plugin_scheduler", REPOSITORY / "models", REPOSITORY / "controllers"]
#: What makes a text that is said in the reader's language, when it is called with one.
SAYERS = {"T", "Sentence", "Refused"}
TEXT = r"""(["'])((?:\\.|(?!\1).)*)\1"""
IN_TEMPLATE = re.compile(rf"\bT\(\s*{TEXT}")
#: Parts of both languages.
SAME = {"{hours} h {minutes} min", "Database", "Host", "Output", "Worker", "worker {name}"}


def of_templates() -> Iterator[tuple[str, str]]:
    for path in FOLDER.rglob("*.html"):
        for found in IN_TEMPLATE.finditer(path.read_text("utf-8")):
            yield ast.literal_eval(found[0].partition("(")[2].strip()), path.name


def of_code() -> Iterator[tuple[str, str]]:
    for path in (file for folder in ENGINE for file in folder.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and name_of(node.func) in SAYERS:
                for text in constants(node.args[0], tree):
                    yield text, path.name


def constants(node: ast.expr, tree: ast.Module) -> Iterator[str]:
    """A text; those of "one if ... else other"; those that a name of the module may mean."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body, tree)
        yield from constants(node.orelse, tree)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name):
        for one in ast.walk(tree):
            if isinstance(one, ast.Assign) and node.id in map(name_of, one.targets):
                yield from constants(one.value, tree)


def of_tables() -> Iterator[tuple[str, str]]:
    """Those that are looked up, or put together."""
    yield from ((text, "the navigation") for _, text in NAVIGATION)
    yield from ((one.said, "acts") for one in ACTS.values())
    yield from ((text, "reasons") for text in reasons.TEMPLATES.values())
    yield from ((text, "worker events") for text in worker_events.TEMPLATES.values())
    yield from ((text, "recurrence") for _, *texts in recurrence._UNITS for text in texts)
    for noun in ("task", "waiting task", "due task"):
        yield from ((views.quantity(number, noun).template, "quantity") for number in (1, 2))


def name_of(called: ast.AST) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


@cache
def said() -> dict[str, str]:
    """Every text that is to be said in the reader's language, and where it stands."""
    scripts = ((text, "scripts") for text in script_texts())
    found = dict([*of_templates(), *of_code(), *of_tables(), *scripts])
    return {text: where for text, where in found.items() if letters(text)}


@cache
def literals() -> str:
    """All the sources' texts: whatever may be said stands somewhere in it."""
    found = [path.read_text("utf-8") for path in FOLDER.rglob("*.html")]
    found += [path.read_text("utf-8") for path in (FOLDER / "static").glob("*.js")]
    for path in (file for folder in ENGINE for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def holes(template: str) -> list[str]:
    return sorted(
        {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    )


def letters(template: str) -> int:
    """How many are in it besides its holes: a frame for others needs no translation."""
    parts = string.Formatter().parse(template)
    return sum(char.isalpha() for text, *_ in parts for char in text)


def language(name: str) -> dict[str, dict[str, str]]:
    known: dict[str, dict[str, str]] = Languages().languages[name]
    return known


def test_there_are_english_and_italian() -> None:
    assert {"en", "it"} <= set(Languages().languages)


@pytest.mark.parametrize("name", [one.name for one in OTHERS])
def test_every_text_is_there_in_the_language(name: str) -> None:
    known = language(name)
    lacking = [f"{where}: {text!r}" for text, where in said().items() if text not in known]
    assert not lacking, "\n".join(sorted(lacking))


@pytest.mark.parametrize("file", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_entry_is_left_over(file: Path) -> None:
    texts = literals()
    escaped = texts.replace('\\"', '"').replace("\\'", "'")
    needed = said()
    entries = json.loads(file.read_text("utf-8"))
    assert not [text for text in entries if text not in escaped and text not in needed]


@pytest.mark.parametrize("file", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_translation_has_the_holes_of_its_text_and_says_something(file: Path) -> None:
    faults = []
    for text, forms in json.loads(file.read_text("utf-8")).items():
        assert set(forms) and all(form.isdigit() for form in forms), text
        for form in forms.values():
            # "One task" has no place for its number.
            if set(holes(text)) - set(holes(form)) - {"n"} or set(holes(form)) - set(holes(text)):
                faults.append(f"{text!r}: other holes in {form!r}")
            is_english = file.parent.name == "en"
            same = form == text and letters(text) > 3 and text not in SAME and not is_english
            if not form.strip() or same:
                faults.append(f"{text!r}: not translated")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("folder", OTHERS, ids=lambda path: path.name)
def test_a_text_is_said_in_one_way_on_all_pages(folder: Path) -> None:
    said: dict[str, tuple[str, Any]] = {}
    for file in sorted(folder.glob("*.json")):
        entries = json.loads(file.read_text("utf-8"))
        assert list(entries) == sorted(entries), f"{file.name} is not sorted"
        for text, forms in entries.items():
            other, before = said.setdefault(text, (file.name, forms))
            assert forms == before, f"{text!r} is said otherwise in {other} than in {file.name}"
