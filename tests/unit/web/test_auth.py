"""Who is let in to the pages, and with which role; and which request counts as one of ours."""

from __future__ import annotations

from typing import Any

import pytest
from plugin_scheduler.controllers.web import csrf
from plugin_scheduler.controllers.web.auth import ACT, ADMIN, VIEW, Door, Person, name_of
from plugin_scheduler.controllers.workers import own_page

from plugin_scheduler.core.errors import ConfigError

OWN = "https://example.com"
OURS = {"Origin": "https://example.com", csrf.HEADER: "right"}


class Auth:
    """py4web's auth, as far as a door knows it."""

    def __init__(self, user: dict[str, Any]) -> None:
        self._user = user

    def get_user(self) -> dict[str, Any]:
        return self._user


ANN = Auth({"id": 3, "email": "ann@example.com"})
NOBODY = Auth({})


def role_of(door: Door) -> str | None:
    person = door.person()
    return person.role if person else None


@pytest.mark.parametrize(
    ("mode", "role"), [("full", ADMIN), ("readonly", VIEW), ("demo", None), ("none", None)]
)
def test_a_login_to_the_dashboard_is_worth_what_its_mode_allows(
    monkeypatch: pytest.MonkeyPatch, mode: str, role: str | None
) -> None:
    monkeypatch.setenv("PY4WEB_DASHBOARD_MODE", mode)
    assert role_of(Door({"user": {"id": 1}}, None, None)) == role


@pytest.mark.parametrize("session", [{}, {"user": None}, {"user": {}}, {"user": "1"}])
def test_a_session_without_a_login_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, session: dict[str, Any]
) -> None:
    monkeypatch.setenv("PY4WEB_DASHBOARD_MODE", "full")
    assert Door(session, None, None).person() is None


def test_a_user_of_the_app_is_a_stranger_until_the_policy_gives_a_role() -> None:
    assert Door({}, ANN, None).person() is None
    assert Door({}, ANN, lambda user: None).person() is None
    assert Door({}, NOBODY, lambda user: ADMIN).person() is None
    assert Door({}, ANN, lambda user: ACT).person() == Person("ann@example.com", ACT)


def test_who_has_two_logins_is_known_by_the_one_that_may_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PY4WEB_DASHBOARD_MODE", "full")
    assert role_of(Door({"user": {"id": 1}}, ANN, lambda user: VIEW)) == ADMIN


def test_a_policy_that_gives_no_role_of_ours_is_told_so() -> None:
    with pytest.raises(
        ConfigError, match="'boss'; it must return one of view, act, admin, or None"
    ):
        Door({}, ANN, lambda user: "boss").person()


def test_a_policy_without_auth_is_refused() -> None:
    with pytest.raises(ConfigError, match="pass both"):
        Door({}, None, lambda user: VIEW)


def test_a_role_may_what_those_below_it_may() -> None:
    rights = {
        role: [Person("x", role).may(one) for one in (VIEW, ACT, ADMIN)]
        for role in (VIEW, ACT, ADMIN)
    }
    assert rights == {
        VIEW: [True, False, False],
        ACT: [True, True, False],
        ADMIN: [True, True, True],
    }


def test_a_user_is_called_by_what_people_know() -> None:
    assert name_of({"id": 3, "username": "ann", "email": "a@b"}) == "ann"
    assert name_of({"id": 3}) == "user 3"


def refused(headers: dict[str, str], given: dict[str, Any] | None = None) -> str | None:
    session = {"token": "right", "whose": "ann"}
    try:
        csrf.check(session, headers, given or {}, OWN)
    except csrf.Refused as why:
        return str(why)
    return None


def test_a_token_of_this_browser_from_a_page_of_ours_is_taken() -> None:
    assert refused(OURS) is None
    assert refused({"Origin": OURS["Origin"]}, {csrf.FIELD: "right"}) is None
    assert refused({**OURS, "Sec-Fetch-Site": "same-origin"}) is None


@pytest.mark.parametrize("token", ["", "wrong", "r\u00efght"])
def test_any_other_token_is_refused(token: str) -> None:
    assert "out of date" in (refused({**OURS, csrf.HEADER: token}) or "")


@pytest.mark.parametrize("token", [None, 7, ["right"], {"right": 1}])
def test_a_token_that_is_no_text_is_refused(token: Any) -> None:
    assert "out of date" in (refused({"Origin": OURS["Origin"]}, {csrf.FIELD: token}) or "")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://example.com.evil.example"},
        {"Origin": "http://example.com"},
        {"Origin": "https://example.com:8443"},
        {"Origin": "https://example.com@evil.example"},
        {"Origin": "ftp://example.com"},
        {"Origin": "https://example.com", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://example.com", "Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/?https://example.com"},
    ],
)
def test_what_another_site_sends_is_refused_even_with_the_token(headers: dict[str, str]) -> None:
    assert "another site" in (refused({csrf.HEADER: "right", **headers}) or "")


def test_who_comes_through_a_proxy_that_is_not_named_reads_the_remedy() -> None:
    same_origin = {"Origin": "http://example.com", "Sec-Fetch-Site": "same-origin"}
    for headers in ({"Origin": "http://example.com"}, same_origin):
        assert "trusted_proxies" in (refused({csrf.HEADER: "right", **headers}) or "")
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert "trusted_proxies" not in (refused({csrf.HEADER: "right", **other}) or "")


def test_no_token_is_ever_right_where_none_was_given_out() -> None:
    with pytest.raises(csrf.Refused):
        csrf.check({}, {**OURS, csrf.HEADER: ""}, {}, OWN)


def test_another_person_at_the_same_browser_gets_another_token() -> None:
    session: dict[str, Any] = {}
    first = csrf.token_of(session, "ann")
    assert csrf.token_of(session, "ann") == first
    assert csrf.token_of(session, "bob") != first


FORWARDED = {"HTTP_X_FORWARDED_HOST": "shop.example", "HTTP_X_FORWARDED_PROTO": "https"}
REACHED = {"wsgi.url_scheme": "http", "HTTP_HOST": "10.0.0.7:8000", **FORWARDED}


@pytest.mark.parametrize(
    ("trusted", "sender", "own"),
    [
        ([], "127.0.0.1", "http://10.0.0.7:8000"),
        (["127.0.0.1"], "127.0.0.1", "https://shop.example"),
        (["10.0.0.0/8", "::1"], "10.9.8.7", "https://shop.example"),
        (["10.0.0.0/8", "::1"], "::1", "https://shop.example"),
        (["10.0.0.0/8"], "192.0.2.1", "http://10.0.0.7:8000"),
        (["10.0.0.0/8"], "", "http://10.0.0.7:8000"),
        # A socket for both protocols tells addresses of version 4 in the form of version 6.
        (["127.0.0.1"], "::ffff:127.0.0.1", "https://shop.example"),
        (["10.0.0.0/8"], "::ffff:10.9.8.7", "https://shop.example"),
        (["::ffff:10.0.0.0/104"], "10.9.8.7", "https://shop.example"),
        (["::/0"], "::ffff:10.9.8.7", "https://shop.example"),
        (["127.0.0.1"], "::ffff:192.0.2.1", "http://10.0.0.7:8000"),
        (["127.0.0.1", "::/0"], "192.0.2.1", "http://10.0.0.7:8000"),
    ],
)
def test_only_a_trusted_proxy_says_how_we_were_reached(
    trusted: list[str], sender: str, own: str
) -> None:
    found = csrf.own_origin({**REACHED, "REMOTE_ADDR": sender}, csrf.networks(trusted))
    assert found == own


def test_of_several_proxies_the_nearest_counts() -> None:
    several = {"HTTP_X_FORWARDED_HOST": "evil.example, shop.example", "REMOTE_ADDR": "::1"}
    assert csrf.own_origin({**REACHED, **several}, csrf.networks(["::1"])).endswith(
        "://shop.example"
    )


@pytest.mark.parametrize("wrong", ["127.0.0.1", ["localhost"], [None], 7, ["10.0.0.1/8"]])
def test_what_is_no_address_of_a_proxy_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="trusted_proxies must be a list"):
        csrf.networks(wrong)


@pytest.mark.parametrize(
    "odd",
    [
        *("workers/../../../x", "workers/%2e%2e/x", "workers/%252e%252e/x", "workers/..%2f..%2fx"),
        *("//evil.example/workers/x", "https://evil.example", "workers\\..\\x", "workers/\\evil"),
        *("workers/x\r\nSet-Cookie: a=b", "workers//evil.example", "workers/", "/workers/x", ""),
        *("workers/%0d%0aX", "workers/%5c%5cevil", "tasks/7", "workers/./x", "workers/\u2028x"),
    ],
)
def test_a_form_leads_back_to_a_page_of_ours_only(odd: str) -> None:
    assert own_page(odd) == "workers"


def test_a_form_leads_back_to_the_page_of_its_worker() -> None:
    for name in ("host#4711", "a/b", "caf\u00e9", "100%"):
        assert own_page(f"workers/{name}") == f"workers/{name}"
