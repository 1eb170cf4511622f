"""In which language is a page? py4web's translator, fed from one folder for each language.

I own how translations are found: `translations/<language>/<page>.json`, so that the words of a page
stand together. English is the language of the source; its folder may hold plural forms.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plugin_scheduler.views import FOLDER
from py4web import Translator


class Languages(Translator):
    """A fixture: picks the reader's language by what the browser says."""

    def __init__(self) -> None:
        super().__init__(str(FOLDER / "translations"))

    def on_request(self, context: Any) -> None:
        """Pick the language; English where the browser wants none that we have."""
        super().on_request(context)
        if self.local.tag is None:
            self.select("en")

    def load(self, folder: str) -> None:
        """Read every language, all files of each."""
        self.languages = {}
        for place in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            found: dict[str, dict[str, str]] = {}
            for file in sorted(place.glob("*.json")):
                found.update(json.loads(file.read_text("utf-8")))
            self.languages[place.name] = found
