"""What every module of the app shares: its folders, its database, its session."""

import os
from pathlib import Path

from py4web import DAL, Flash, Session

FOLDER = Path(__file__).resolve().parent
DATA = FOLDER / "data"
UPLOADS = FOLDER / "uploads"
PRIVATE = FOLDER / "private"
DATABASES = FOLDER / "databases"
DOCS = FOLDER.parents[1] / "docs"

for folder in (UPLOADS, PRIVATE, DATABASES):
    folder.mkdir(exist_ok=True)

db = DAL(
    os.environ.get("DEMO_DB_URI", "sqlite://storage.sqlite"),
    folder=str(DATABASES),
    pool_size=10,
)
session = Session()
#: The login to py4web's dashboard, which opens the scheduler's pages, too.
dashboard = Session(name="_dashboard_session")
flash = Flash()
