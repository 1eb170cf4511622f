"""The app's tables and its tasks.

The functions marked with ``@scheduler.task`` are the tasks, and no others can be queued. A task
does its slow work first and writes to the database last: its writes are committed when it returns
and rolled back when it raises. A task may run twice (a worker can die at any moment), so each one
comes to the same end the second time.
"""

import time
from datetime import datetime
from pathlib import Path
from typing import Literal

from py4web import Field

from plugin_scheduler import Scheduler, progress

from . import links, pictures, sales
from .common import DATA, DOCS, PRIVATE, UPLOADS, db

db.define_table(
    "picture",
    Field("filename", length=80, unique=True, notnull=True),
    Field("title", length=120),
    Field("width", "integer"),
    Field("height", "integer"),
    Field("thumbnail", length=80),
    Field("added_on", "datetime", default=datetime.now),
    format="%(title)s",
)
db.define_table(
    "contact_sheet",
    Field("filename", length=80, unique=True, notnull=True),
    Field("pictures", "integer"),
    Field("made_on", "datetime"),
)
db.define_table(
    "stock",
    Field("pictures", "integer"),
    Field("thumbnails", "integer"),
    Field("files", "integer"),
    Field("total_bytes", "bigint"),
    Field("counted_on", "datetime"),
)

scheduler = Scheduler(db)


@scheduler.task(timeout=120, sync_output=1)
def draw_samples(filenames: list[str]) -> dict[str, int]:
    """Draw a sample picture for each of the given file names."""
    for at, filename in enumerate(filenames, start=1):
        pictures.draw(UPLOADS / filename, seed=filename)
        progress(at, len(filenames), filename)
        print(f"!clear!{100 * at // len(filenames)}%")
    for filename in filenames:
        title = Path(filename).stem.replace("-", " ")
        db.picture.update_or_insert(db.picture.filename == filename, filename=filename, title=title)
    return {"drawn": len(filenames)}


@scheduler.task(timeout=60, retry_failed=1, period=5)
def make_thumbnail(filename: str) -> dict[str, object]:
    """Make the small copy of one picture; fails if the file is no picture."""
    thumbnail = f"thumb-{Path(filename).stem}.jpg"
    width, height = pictures.shrink(UPLOADS / filename, UPLOADS / thumbnail)
    picture = db(db.picture.filename == filename)
    picture.update(thumbnail=thumbnail, width=width, height=height)
    return {"thumbnail": thumbnail, "width": width, "height": height}


@scheduler.task(timeout=120)
def join_contact_sheet(filename: str, of: list[str]) -> dict[str, object]:
    """Join the thumbnails of the given pictures into one picture."""
    pictures.join([UPLOADS / f"thumb-{Path(name).stem}.jpg" for name in of], UPLOADS / filename)
    sheet = {"filename": filename, "pictures": len(of)}
    db.contact_sheet.update_or_insert(
        db.contact_sheet.filename == filename, made_on=datetime.now(), **sheet
    )
    return sheet


@scheduler.task(timeout=300)
def sales_report(source: str = "orders.csv") -> dict[str, object]:
    """Add up the orders by month and region and write the report."""
    sums = sales.add_up(DATA / source)
    sales.write_report(sums, PRIVATE / "sales.csv")
    totals = {month: sum(by_region.values()) for month, by_region in sums.items()}
    best = max(totals, key=lambda month: totals[month], default=None)
    return {"months": len(totals), "turnover": str(sum(totals.values())), "best_month": best}


@scheduler.task(timeout=300, sync_output=1)
def check_links(folder: str = "") -> dict[str, int]:
    """Look for broken links in a folder of Markdown files (the project's docs if none is given)."""
    root = Path(folder) if folder else DOCS
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder")
    pages, broken = sorted(root.rglob("*.md")), 0
    for at, page in enumerate(pages, start=1):
        progress(at, len(pages), page.name)
        for link in links.broken_links(page):
            broken += 1
            print(f"{page.relative_to(root)}: {link} leads nowhere")
    print(f"pages: {len(pages)}, broken links: {broken}")
    return {"pages": len(pages), "broken": broken}


@scheduler.task(timeout=300, secret=["mail_key"])
def write_to_dealers(
    subject: str, mail_key: str, pause: float = 0.5, tone: Literal["plain", "warm"] = "warm"
) -> dict[str, int]:
    """Write a letter to the dealers of every region and month, one after another.

    Args:
        subject: What stands above each letter.
        mail_key: The key for the mail server; nobody is shown it.
        pause: Seconds between two letters, since mail servers want peace.
        tone: How the letters end.
    """
    outbox = PRIVATE / "outbox"
    outbox.mkdir(exist_ok=True)
    sums = sales.add_up(DATA / "orders.csv")
    letters = [(month, region) for month in sums for region in sums[month]]
    for at, (month, region) in enumerate(letters, start=1):
        text = sales.letter(subject, region, sums[month][region])
        end = "Warm regards\n" if tone == "warm" else "Regards\n"
        (outbox / f"{month}-{region}.txt").write_text(text + end, encoding="utf-8")
        print(f"{month} {region}: written")
        progress(at, len(letters), f"{region}, {month}")
        time.sleep(pause)
    return {"letters": len(letters)}


@scheduler.task(timeout=30)
def count_stock() -> int:
    """Count pictures and files into one row; returns how many pictures there are."""
    files = [path.stat().st_size for path in UPLOADS.iterdir() if not path.name.startswith(".")]
    db.stock.update_or_insert(
        db.stock.id > 0,
        pictures=db(db.picture).count(),
        thumbnails=db(db.picture.thumbnail != None).count(),
        files=len(files),
        total_bytes=sum(files),
        counted_on=datetime.now(),
    )
    return db(db.picture).count()


scheduler.enable()  # the management pages, at /demo/scheduler
db.commit()
