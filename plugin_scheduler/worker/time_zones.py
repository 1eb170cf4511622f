"""Agree on the time zone of the tables, which must be the same for all workers.

Times in the tables are naive, as in web2py: 09:00 is nine o'clock in some place, and with machines
in several zones that place must be defined. ``utc_time`` or ``time_zone`` define it permanently.
Without them the oldest living worker uses the zone of its machine, and the others use it too, with
a warning. Does not change rows.
"""

from __future__ import annotations

from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.store import Store
from plugin_scheduler.system import clock


def agree(store: Store, settings: Settings, worker_name: str) -> str | None:
    """Set the store's zone to the one in use; return a warning for the operator, if any."""
    dialect = store.dialect
    mine, theirs = settings.zone or clock.own_zone(), store.workers.zone_in_use()
    dialect.zone = mine
    if not theirs or clock.alike(mine, theirs, dialect.epoch()):
        return None
    if settings.zone:
        trouble = f"its time zone is {mine}, other workers use {theirs}: set the same zone for all"
    else:
        dialect.zone = theirs
        trouble = (
            f"the time zone of its machine is {mine or 'unnamed'}, but it uses {theirs} like the "
            "other workers; set time_zone or utc_time for all workers, or TZ for this one"
        )
    log_event("zones_differ", worker=worker_name, trouble=trouble)
    return trouble
