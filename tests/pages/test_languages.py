"""Every page in Italian: each text that a page asks a translation for has one.

`tests/unit/test_translations.py` reads the code; here are those texts, too, that a page puts
together or takes from a table while it is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pages_kit import FOR_USERS, USERS, Page, Site
from routes import Asker, World, meant

DATABASES = ("sqlite",)
#: What translators were asked for, and did not know.
LACKING = """
    import gc
    from py4web import action

    @action("lacking")
    def _lacking():
        from plugin_scheduler.controllers.languages import Languages
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


def test_a_browser_is_answered_in_its_language(visit: Callable[..., Page]) -> None:
    for locale, words in (("it-IT", "Storico"), ("en-GB", "History"), ("xx", "History")):
        page = visit("vera", locale=locale)
        page.open("history")
        assert page.locator("h1").inner_text() == words
