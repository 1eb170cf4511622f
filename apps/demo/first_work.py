"""What `make demo` queues, so that the first visitor finds something going on."""

from .common import db
from .models import sales_report
from .work import (
    queue_broken_picture,
    queue_large_picture,
    queue_letters,
    queue_link_check,
    queue_nightly_report,
    queue_once,
    queue_samples,
    queue_statistics,
)


def queue_first_work() -> list[int]:
    """Queue the starting work once; returns the ids of the new tasks, none the second time."""
    queued = queue_once("first-report", sales_report)
    if queued:
        queued += queue_samples("first") + queue_link_check() + queue_broken_picture()
    queued += queue_nightly_report() + queue_statistics()
    queued += queue_letters() + queue_large_picture()
    db.commit()
    return queued
