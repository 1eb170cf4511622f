"""The pages. Every change is a POST of a py4web form, which carries a token against forgery."""

import csv
import hmac
import os
from typing import Any
from uuid import uuid4

from py4web import HTTP, URL, action, redirect, request
from py4web.core import bottle
from py4web.utils.form import Form

from . import work
from .common import PRIVATE, UPLOADS, dashboard, db, flash, session
from .models import scheduler
from .uploads import MAX_FILES, MAX_MEGABYTES, Refused, store_uploads

BUTTONS = {
    "samples": ("Draw six sample pictures", work.queue_samples),
    "broken": ("Try a file that is no picture", work.queue_broken_picture),
    "report": ("Make the sales report now", work.queue_report),
    "nightly": ("Make the report every night at three", work.queue_nightly_report),
    "links": ("Check the links of the docs", work.queue_link_check),
    "statistics": ("Count the stock every ten seconds", work.queue_statistics),
}
UPLOAD_BYTES = MAX_FILES * MAX_MEGABYTES * 1_000_000
SHOWN_TASKS = 15
SHOWN_PICTURES = 60


@action("index", method=["GET", "POST"])
@action.uses("index.html", db, session, flash)
def index() -> dict[str, Any]:
    """Forms that queue work, and the latest tasks."""
    if request.content_length > UPLOAD_BYTES:
        raise HTTP(413)
    upload = Form([], form_name="upload", csrf_session=session)
    if upload.accepted:
        queue_upload()
    forms = {}
    for name, (label, queue) in BUTTONS.items():
        forms[name] = Form([], form_name=name, csrf_session=session)
        if forms[name].accepted:
            announce(queue(), label)
    buttons = [(form.custom, BUTTONS[name][0]) for name, form in forms.items()]
    limits = f"Up to {MAX_FILES} pictures of {MAX_MEGABYTES} MB: JPEG, PNG, GIF or WebP."
    return {"upload": upload.custom, "buttons": buttons, "limits": limits, **latest_work()}


def queue_upload() -> None:
    """Store what the visitor sent and queue its thumbnails and its contact sheet."""
    try:
        filenames = store_uploads("pictures")
    except Refused as refused:
        flash.set(str(refused), "error")
        redirect(URL("index"))
    announce(work.queue_pictures(filenames, uuid4().hex[:8]), "Pictures received")


def announce(queued: list[int], label: str) -> None:
    """Say what was queued and show the page anew, so that a reload queues nothing."""
    count = f"{len(queued)} task{'s' * (len(queued) != 1)} queued"
    flash.set(f"{label}: {count if queued else 'queued already'}.")
    redirect(URL("index"))


@action("latest", method="GET")
@action.uses("latest.html", db)
def latest() -> dict[str, Any]:
    """The part of the index page that it fetches again and again."""
    return latest_work()


def latest_work() -> dict[str, Any]:
    """The latest tasks and the statistics."""
    tasks = db(db.scheduler_task).select(
        db.scheduler_task.id, orderby=~db.scheduler_task.id, limitby=(0, SHOWN_TASKS)
    )
    states = [scheduler.task_status(task.id, output=True) for task in tasks]
    return {"states": states, "stock": db(db.stock).select().first()}


@action("task/<task_id:int>", method="GET")
@action.uses("task.html", db, flash)
def task(task_id: int) -> dict[str, Any]:
    """One task: what it shall do, and how its last run went."""
    state = scheduler.task_status(task_id, output=True)
    if not state:
        raise HTTP(404)
    return {"state": state}


@action("pictures", method="GET")
@action.uses("pictures.html", db, flash)
def pictures() -> dict[str, Any]:
    """The thumbnails and the contact sheets."""
    shown = {"limitby": (0, SHOWN_PICTURES)}
    return {
        "pictures": db(db.picture).select(orderby=~db.picture.id, **shown),
        "sheets": db(db.contact_sheet).select(orderby=~db.contact_sheet.id, **shown),
    }


@action("picture/<filename>", method="GET")
def picture(filename: str) -> Any:
    """An uploaded or a made picture."""
    served = bottle.static_file(filename, root=str(UPLOADS))
    served.headers["X-Content-Type-Options"] = "nosniff"
    return served


@action("report", method="GET")
@action.uses("report.html", flash)
def report() -> dict[str, Any]:
    """The sales report as a table."""
    path = PRIVATE / "sales.csv"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {"rows": list(csv.reader(lines))}


@action("sales.csv", method="GET")
def sales_csv() -> Any:
    """The sales report as a file."""
    return bottle.static_file("sales.csv", root=str(PRIVATE), download=True)


@action("open/<key>", method="GET")
@action.uses(dashboard)
def open_scheduler(key: str) -> None:
    """The way in from the terminal of `make demo`: its address has a key that is new each time."""
    expected = os.environ.get("DEMO_KEY", "")
    if not expected or not hmac.compare_digest(key.encode(), expected.encode()):
        raise HTTP(404)
    dashboard["user"] = {"id": 1}
    redirect(URL("scheduler"))
