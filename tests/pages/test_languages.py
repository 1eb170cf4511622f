"""Every page in Italian: each text for which a page requests a translation has one.

`tests/unit/test_translations.py` reads the code; this test includes texts that a page composes, or
takes from a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from support.pages_kit import FOR_USERS, USERS, Page, Site
from support.routes import Asker, World, meant

#: The texts for which a translation was requested, but missing.
LACKING = """
    import gc
    from py4web import action

    @action("lacking")
    def _lacking():
        from plugin_scheduler.controllers.web.i18n import Languages
        known = [one for one in gc.get_objects() if isinstance(one, Languages)]
        assert known
        return {"lacking": sorted({text for one in known for text in one.missing})}
"""
MODELS = (USERS, LACKING, FOR_USERS)


def test_no_page_lacks_an_italian_text(site: Site) -> None:
    world, asker = World(site), Asker(site, "adele")
    asker.session.headers["Accept-Language"] = "it-IT,it;q=0.9"
    for route in meant():
        for path in (*world.fillings(route), *world.empty(route)):
            if route.method == "GET":
                page = asker.ask("GET", path)
                if page.headers["Content-Type"].startswith("text/html"):
                    assert '<html lang="it">' in page.text, path
    lacking = asker.session.get(f"{site.root}/lab/lacking", timeout=20).json()["lacking"]
    asker.session.close()
    assert not [text for text in lacking if re.sub(r"{\w+}", "", text).strip(".:;, ()")]


def test_what_a_form_may_not_say_is_refused_in_italian(site: Site) -> None:
    """Including the errors of validators, which are written in English."""
    asker = Asker(site, "adele")
    asker.session.headers["Accept-Language"] = "it"
    wrong = {
        "timeout": ("soon", "deve essere un numero intero da 1 a 2147483647"),
        "priority": ("1e9", "deve essere un numero intero da -1000 a 1000"),
        "task_name": ("x" * 600, "è lungo 600 caratteri; il massimo è 512"),
        "group_name": ("a,b", "non può contenere ',', che separa i nomi dei gruppi"),
        "cronline": ("61 * * * *", "riga di cron '61 * * * *': minuto '61' non è tra 0 e 59"),
        "on_failure": ("explode", "deve essere uno di"),
    }
    given = {name: value for name, (value, _) in wrong.items()}
    form = {"function": "add", "arg.a": "1", "arg.b": "2", "when": "cron", **given}
    errors = asker.change_json("queue", form).json()["errors"]
    asker.session.close()
    assert errors.keys() == wrong.keys()
    assert not [
        (name, errors[name]) for name, (_, words) in wrong.items() if words not in errors[name]
    ]


def test_a_browser_is_answered_in_its_language(visit: Callable[..., Page]) -> None:
    for locale, words in (("it-IT", "Storico"), ("en-GB", "History"), ("xx", "History")):
        page = visit("vera", locale=locale)
        page.open("history")
        assert page.locator("h1").inner_text() == words
