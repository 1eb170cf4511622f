"""Compare the floors of our dependencies, and what is installed, with a list of known holes.

`make check` runs this file; the list is `advisories.txt` beside it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_name("advisories.txt")


class Advisory(NamedTuple):
    """A hole: all releases before ``fixed`` may have it."""

    package: str
    fixed: Version
    name: str


def advisories(text: str) -> list[Advisory]:
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return [
        Advisory(canonicalize_name(package), Version(fixed), name)
        for package, fixed, name in filter(None, lines)
    ]


def requirements(source: str) -> Iterator[Requirement]:
    """Every text in a file of Python, or in a list that looks like it, that names a package and a
    release."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                found = Requirement(node.value)
            except InvalidRequirement:
                continue
            yield found


def floor_of(requirement: Requirement) -> Version | None:
    floors = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    return max(floors, default=None)


def low_floors(wanted: Iterable[Requirement], known: Iterable[Advisory]) -> list[str]:
    """Requirements that admit a release with a hole; a package without any floor admits all."""
    found = []
    every = list(known)
    for one in wanted:
        floor = floor_of(one)
        for hole in every:
            if hole.package == canonicalize_name(one.name) and (not floor or floor < hole.fixed):
                found.append(f"{one} admits {hole.name}: first fixed in {hole.fixed}")
    return found


def installed_holes(known: Iterable[Advisory]) -> list[str]:
    found = []
    for hole in known:
        try:
            version = Version(metadata.version(hole.package))
        except metadata.PackageNotFoundError:
            continue
        if version < hole.fixed:
            found.append(f"{hole.package} {version} is installed: {hole.name}, fixed {hole.fixed}")
    return found


def wanted_here() -> list[Requirement]:
    """What setup.py and pyproject.toml ask for."""
    line = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()[1]
    return [*requirements((ROOT / "setup.py").read_text("utf-8")), *requirements(line)]


def main() -> int:
    known = advisories(LIST.read_text("utf-8"))
    found = [*low_floors(wanted_here(), known), *installed_holes(known)]
    print("\n".join(found) or f"audit: none of {len(known)} known holes is admitted or installed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
