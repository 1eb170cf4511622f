"""Small py4web-shaped apps, written where a test needs one."""

from __future__ import annotations

from pathlib import Path

APP = """
from pydal import DAL, Field
from plugin_scheduler import Scheduler
import os
db = DAL("sqlite://storage.sqlite", folder=os.path.dirname(__file__))
db.define_table("mark", Field("name"))
def note(name):
    db.mark.insert(name=name)
    return os.getpid()
scheduler = Scheduler(db, heartbeat=1)
db.commit()
"""


def write_app(folder: Path, name: str, source: str) -> Path:
    app = folder / "apps" / name
    app.mkdir(parents=True)
    (app.parent / "__init__.py").touch()
    (app / "__init__.py").write_text("from .models import *\n")
    (app / "models.py").write_text(source)
    return app
