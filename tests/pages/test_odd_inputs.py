"""Every address, form, JSON body and header gets an answer, never an exception.

Routes and fields are not listed here: routes come from the router, fields from the code that reads
them.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from support.kit import REPOSITORY
from support.pages_kit import STRANGER, Site
from support.routes import HTML, JSON, Asker, Route, World, meant

ROUTES = meant()
READS = [route for route in ROUTES if route.method == "GET"]
CHANGES = [route for route in ROUTES if route.method == "POST"]
ODD = (
    *("", " ", "0", "-1", "-0", "+1", " 1 ", "1_0", "1e3", "0x10", "1.0", "007"),
    *(str(2**31), str(2**63 - 1), str(2**63), str(-(2**63) - 1), "9" * 5000),
    *("abc", "null", "None", "true", "NaN", "inf", "-inf", "[]", "{}", '{"a": 1}', "[[[["),
    *("'", '"', "1;drop table scheduler_task", "1 or 1=1", "x' or '1'='1", "%", "_", "\\", "%%"),
    *("{0}", "{name.__class__}", "[[=1]]", "<script>", "${x}", "a" * 5000, "../../etc/passwd"),
    *("\x00", "a\x00b", "\r\nX-Odd: 1", "\u0661\u0662", "\u00e9", "\U0001f600", "\u202e", "\ufeff"),
    *("2026-13-45", "9999-12-31T23:59:59", "0001-01-01T00:00:00", "10000-01-01", "2026-02-30"),
    *("2026-01-01T00:00:00+99:00", "*/0 * * * *", "id", "-id", "__class__", "scheduler_task.id"),
)
#: Values that each parameter gets alone, together with the next few.
WORST = ("", "-1", "9" * 25, "abc", "a\x00'", "1_0", "2026-13-45", "[[=1]]", "\u0661", '{"a": 1}')
FEW = 1
PART = 3  # each route gets every third of the other values
#: Invalid UTF-8 and halves of characters, as written in an address.
RAW = ("%ff%fe", "%ed%a0%80", "%c0%af", "%e2%28%a1", "%")
ODD_JSON: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**400, 1.5, 1e308, "", "\x00", "\ud800", "a" * 5000),
    *([], {}, [[]], [None], [{}], [2**70], ["x", 1, None, []], {"a": {"b": [1]}}, {"": None}),
)
LOOKING = {"get", "getall", "pop", "number", "several", "listed"}
TABLES = (ast.Assign, ast.AnnAssign)
BODIES = (
    *(b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe", b'{"a": \xff}', b"NaN", b"[" * 100_000),
    *(b'{"a": 1' + b"0" * 5000 + b"}", b'{"_token": "\\ud800"}', b"\x00", b'{"a": 1} x'),
    *(b'{"function": "add", "pargs": [NaN, 1e400]}', b'{"ids": [1], "ids": [2]}'),
)
HEADERS = {
    "Accept": ("", "*", "application/json;q=x", "\u00e9", "a" * 3000, "text/html;;;,,"),
    "Accept-Language": (
        "",
        "*",
        "../../etc",
        "it;q=nan",
        "\u00e9",
        "x" * 3000,
        ",,,;;",
        "IT",
        "xx",
    ),
    "Origin": ("http://[", "http://[::1", "//", "\u00e9", "a" * 3000, "http://\u2100.com", "://"),
    "Referer": ("http://[", "x", "\u00e9"),
    "X-Scheduler-Token": ("", "\u00e9", "a" * 3000, "\x7f", "null"),
    "Content-Type": ("", "json", "application/json; charset=x", "multipart/form-data", "\u00e9"),
    "Cookie": ("", "=", "lab_scheduler_session=x", "lab_session=v1-hmac256:x:y", "a=\u00e9; ;;"),
    "HX-Request": ("true", "\u00e9"),
    "Sec-Fetch-Site": ("", "\u00e9"),
}


@pytest.fixture(scope="module")
def world(site: Site) -> World:
    return World(site)


@pytest.fixture(scope="module")
def asker(site: Site, world: World) -> Iterator[Asker]:
    """A user with all permissions."""
    one = Asker(site, "adele")
    yield one
    one.session.close()


@pytest.fixture(autouse=True)
def no_exceptions(site: Site) -> Iterator[None]:
    site.forget_tickets()
    yield
    assert not site.tickets()


def fields() -> dict[str, list[str]]:
    """Return, by module of the controllers, the names that it may look up in its input."""
    found = {}
    for path in (REPOSITORY / "controllers").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        texts = [text for node in ast.walk(tree) for text in looked_up(node)]
        texts += [text for node in tree.body if isinstance(node, TABLES) for text in texts_in(node)]
        found[path.stem] = sorted({text for text in texts if text.isidentifier()})
    return found


def looked_up(node: ast.AST) -> Iterator[str]:
    """Return the key of ``given["x"]``, or the first argument of a method such as `query.get`."""
    if isinstance(node, ast.Subscript):
        yield from texts_in(node.slice)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        if node.func.attr in LOOKING:
            yield from texts_in(node.args[0])


def texts_in(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def names_for(route: Route) -> list[str]:
    return fields()[route.module]


def alone(names: list[str], odd_values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Combine each name with a few of the values; all of them would take minutes."""
    values = itertools.cycle(odd_values)
    return ((name, next(values)) for name in names for _ in range(FEW))


def in_addresses(number: int) -> list[str]:
    """Return the part of the values for a route, as written in an address."""
    return [*(quote(odd, safe="") for odd in ODD), *RAW][number % PART :: PART]


def faults(asker: Asker, asked: Iterator[tuple[str, Any]]) -> list[str]:
    """Return the requests that got an exception, or no answer."""
    return [
        f"{what}: {answer.status_code} {answer.text[-600:]}"
        for what, answer in asked
        if answer.status_code >= 500
    ]


def test_odd_places_in_an_address(asker: Asker) -> None:
    def asked() -> Iterator[tuple[str, Any]]:
        for number, route in enumerate(route for route in ROUTES if route.places):
            for odd, accept in zip(in_addresses(number), itertools.cycle((HTML, JSON))):
                answer = asker.ask(route.method, route.filled(odd), accept)
                yield f"{route} with {odd[:80]}", answer

    assert not faults(asker, asked())


def test_odd_parameters_in_an_address(asker: Asker, world: World) -> None:
    def asked() -> Iterator[tuple[str, Any]]:
        for number, route in enumerate(READS):
            path = next(world.fillings(route))
            names = names_for(route)
            queries = [f"{name}={quote(odd)}&{name}=x" for name, odd in alone(names, WORST)]
            for odd in in_addresses(number) if names else ():
                queries.append("&".join(f"{name}={odd}" for name in names))
            for query in queries:
                yield f"{route}?{query[:200]}", asker.ask("GET", f"{path}?{query}")

    assert not faults(asker, asked())


def test_odd_fields_of_a_form(asker: Asker, world: World) -> None:
    def asked() -> Iterator[tuple[str, Any]]:
        for number, route in enumerate(CHANGES):
            path = next(world.fillings(route))
            names = names_for(route)
            forms = [{name: odd} for name, odd in alone(names, WORST)]
            forms += [dict.fromkeys(names, odd) for odd in ODD[number % PART :: PART]]
            for form in forms:
                yield f"{route} {form!r:.200}", asker.change(path, **form)

    assert not faults(asker, asked())


def test_odd_members_of_a_json_body(asker: Asker, world: World) -> None:
    def asked() -> Iterator[tuple[str, Any]]:
        for route in CHANGES:
            path = next(world.fillings(route))
            names = names_for(route)
            bodies = [{name: odd} for name, odd in alone(names, ODD_JSON)]
            bodies += [dict.fromkeys(names, odd) for odd in ODD_JSON]
            for body in bodies:
                yield f"{route} {body!r:.200}", asker.change_json(path, body)

    assert not faults(asker, asked())


def test_bodies_that_are_not_what_they_say(asker: Asker, world: World) -> None:
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data", "x/y")
    given = {"Origin": asker.site.root, "X-Scheduler-Token": asker.token}

    def asked() -> Iterator[tuple[str, Any]]:
        for route in CHANGES:
            path = next(world.empty(route))
            for kind in (*kinds, "multipart/form-data; boundary=x", "application/json; charset=x"):
                for body in (*BODIES, b"a=" + b"x" * 2_000_000):
                    headers = {**given, "Content-Type": kind}
                    answer = asker.ask("POST", path, JSON, data=body, headers=headers)
                    yield f"{route} {kind} {body[:40]!r}", answer

    assert not faults(asker, asked())


@pytest.mark.parametrize("who", [STRANGER, "adele"])
def test_odd_headers(site: Site, world: World, who: str) -> None:
    asker = Asker(site, who)
    cookies = "; ".join(f"{one.name}={one.value}" for one in asker.session.cookies)

    def asked() -> Iterator[tuple[str, Any]]:
        for route in (*READS[:2], *CHANGES[:2]):
            path = next(world.empty(route))
            for name, odd_values in HEADERS.items():
                for odd in odd_values:
                    head = {"Origin": site.root, "X-Scheduler-Token": asker.token}
                    head |= {"Cookie": cookies, name: odd.encode("utf-8")}
                    yield (
                        f"{route} {name}: {odd[:80]!r}",
                        asker.ask(route.method, path, headers=head),
                    )

    found = faults(asker, asked())
    asker.session.close()
    assert not found


def test_what_the_code_reads_is_found() -> None:
    """The fields are read from the code: if none is found, the tests above test nothing."""
    assert "before" in fields()["audit_log"]
    assert {route.module for route in ROUTES} <= set(fields())
