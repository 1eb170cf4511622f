"""Translations of the pages: py4web's translator, with one folder for each language.

Files are `translations/<language>/<page>.json`, so that the texts of a page are in one place.
English is the language of the source; its folder may contain plural forms.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plugin_scheduler.views import FOLDER
from py4web import Translator


class Languages(Translator):
    """A fixture that selects the language from the browser's request."""

    def __init__(self) -> None:
        super().__init__(str(FOLDER / "translations"))

    def on_request(self, context: Any) -> None:
        """Select the language; English if none of the requested ones is available."""
        super().on_request(context)
        if self.local.tag is None:
            self.select("en")

    def load(self, folder: str) -> None:
        """Read all files of every language."""
        self.languages = {}
        for place in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            found: dict[str, dict[str, str]] = {}
            for file in sorted(place.glob("*.json")):
                found.update(json.loads(file.read_text("utf-8")))
            self.languages[place.name] = found
