"""No floor of our dependencies admits a release with a known hole."""

from __future__ import annotations

from audit import LIST, advisories, installed_holes, low_floors, requirements, wanted_here
from packaging.requirements import Requirement


def test_no_floor_admits_a_known_hole() -> None:
    wanted = wanted_here()
    assert {"pymysql", "pillow", "setuptools", "click"} <= {one.name for one in wanted}
    assert not low_floors(wanted, advisories(LIST.read_text("utf-8")))


def test_a_low_floor_and_a_missing_one_are_found() -> None:
    known = advisories("pymysql 1.1.1 CVE-1  # a note\n\n# nothing\npillow 10.3 CVE-2\n")
    wanted = [Requirement(one) for one in ("PyMySQL>=1.1", "pillow", "click>=8", "pillow>=10.3")]
    assert low_floors(wanted, known) == [
        "PyMySQL>=1.1 admits CVE-1: first fixed in 1.1.1",
        "pillow admits CVE-2: first fixed in 10.3",
    ]


def test_what_is_installed_is_looked_at() -> None:
    found = installed_holes(advisories("pytest 99999 CVE-3\nno-such-package-at-all 1 CVE-4\n"))
    assert len(found) == 1 and "CVE-3" in found[0]


def test_requirements_are_read_from_code() -> None:
    found = [str(one) for one in requirements('x = ["a>=1; python_version < \'4\'", "two words"]')]
    assert found == ['a>=1; python_version < "4"']
