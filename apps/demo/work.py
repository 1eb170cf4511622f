"""Every way this app queues work.

What is queued exists when the caller commits, which py4web does at the end of an action.
``JobGraph.validate`` is the exception: it commits, so it comes after the whole graph is queued.
"""

import shutil
import uuid
from collections.abc import Callable
from typing import Any

from plugin_scheduler import JobGraph

from .common import DATA, UPLOADS, db
from .models import (
    check_links,
    count_stock,
    draw_samples,
    join_contact_sheet,
    make_thumbnail,
    sales_report,
    scheduler,
    write_to_dealers,
)

SAMPLES = 6


def queue(task: Callable[..., Any], **settings: Any) -> int:
    """Queue a task or say why not; returns its id."""
    queued = scheduler.queue_task(task, **settings)
    if queued.errors:
        raise ValueError(f"{task.__name__} cannot be queued: {dict(queued.errors)}")
    return int(queued.id)


def queue_once(name: str, task: Callable[..., Any], **settings: Any) -> list[int]:
    """Queue a task whose uuid is its name, unless there is one already."""
    if db(db.scheduler_task.uuid == name).count():
        return []
    return [queue(task, uuid=name, task_name=name, **settings)]


def queue_pictures(filenames: list[str], key: str, after: int | None = None) -> list[int]:
    """A thumbnail of each picture, then a contact sheet that waits for all of them.

    With ``after`` the thumbnails in their turn wait for that task.
    """
    job = JobGraph(db, f"pictures {key}")
    thumbnails = [queue(make_thumbnail, pvars={"filename": name}) for name in filenames]
    sheet = queue(
        join_contact_sheet,
        pvars={"filename": f"sheet-{key}.jpg", "of": filenames},
        task_name=f"contact sheet {key}",
    )
    for thumbnail in thumbnails:
        job.add_deps(task_parent=sheet, task_child=thumbnail)
        if after:
            job.add_deps(task_parent=thumbnail, task_child=after)
    job.validate(f"pictures {key}")
    return [*thumbnails, sheet]


def queue_samples(key: str = "") -> list[int]:
    """Draw some pictures, then their thumbnails, then their contact sheet."""
    key = key or uuid.uuid4().hex[:8]
    filenames = [f"sample-{key}-{number}.jpg" for number in range(1, SAMPLES + 1)]
    samples = queue(draw_samples, pvars={"filenames": filenames}, task_name=f"samples {key}")
    return [samples, *queue_pictures(filenames, key, after=samples)]


def queue_broken_picture() -> list[int]:
    """A thumbnail of a file that only says it is a picture: fails, is retried once, fails."""
    shutil.copy(DATA / "broken.jpg", UPLOADS)
    return [queue(make_thumbnail, pvars={"filename": "broken.jpg"}, task_name="broken picture")]


def queue_report() -> list[int]:
    """The sales report, now."""
    return [queue(sales_report, task_name="sales report now")]


def queue_nightly_report() -> list[int]:
    """The sales report, every night at three."""
    return queue_once("nightly-report", sales_report, cronline="0 3 * * *", repeats=0)


def queue_link_check() -> list[int]:
    """The link check of the project's docs, now."""
    return [queue(check_links)]


def queue_statistics() -> list[int]:
    """The statistics, every ten seconds, for ever."""
    return queue_once("statistics", count_stock, period=10, repeats=0)


def queue_letters() -> list[int]:
    """Letters to all dealers, every two minutes: something long to look at while it runs."""
    given = {"subject": "Your sales", "mail_key": "not for everybody"}
    return queue_once("letters", write_to_dealers, pvars=given, period=120, repeats=0)


def queue_large_picture() -> list[int]:
    """For machines with a graphics card; no worker of the demo serves that group."""
    large = {"filenames": ["large.jpg"]}
    return queue_once("large-picture", draw_samples, pvars=large, group_name="gpu")
