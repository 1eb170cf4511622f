"""Whoever opens a run's page sees what it prints, though its task asks for no `sync_output`."""

from __future__ import annotations

from collections.abc import Callable

from support.kit import Lab, eventually

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.queries import Queries
from plugin_scheduler.queries.runs import Piece

TALK = """
def talk():
    number = 0
    while not os.path.exists("go"):
        number += 1
        print(f"line {number}", flush=True)
        progress(number, 1000)
        time.sleep(0.05)
    print("!clear!all done")
    return number
"""


class Page:
    """What a page does on a connection of its own: say that somebody looks, and read on."""

    def __init__(self, lab: Lab, run_id: int) -> None:
        self.lab, self.run_id, self.text = lab, run_id, ""
        self.browser = Queries(lab.fresh(), Settings(), "lab")
        self.piece: Piece | None = None

    def look(self) -> None:
        self.lab.fresh()
        assert self.lab.scheduler.watch_run(self.run_id) == 1
        self.lab.db.commit()

    def read(self) -> str:
        self.lab.fresh()
        known = (self.piece.end, self.piece.marker) if self.piece else ()
        self.piece = self.browser.output(self.run_id, *known)
        assert self.piece is not None
        self.text = self.piece.text if self.piece.fresh else self.text + self.piece.text
        self.lab.db.commit()
        return self.text

    def lines(self, number: int) -> Callable[[], bool]:
        return lambda: len(self.read().splitlines()) >= number


def running(lab: Lab, heartbeat: str, **columns: object) -> tuple[int, Page]:
    lab.write_tasks(TALK)
    lab.start_worker("-b", heartbeat)
    task_id = lab.queue("talk", **columns)
    lab.becomes(task_id, "RUNNING")
    eventually(lambda: lab.runs(task_id)[0].progress, what="it is at work")
    return task_id, Page(lab, lab.runs(task_id)[0].id)


def test_output_is_seen_while_it_is_printed_and_until_the_end(each_lab: Lab) -> None:
    lab = each_lab
    task_id, page = running(lab, "30")  # no beat comes to its help
    assert page.read() == ""
    page.look()
    eventually(page.lines(5), 4)
    seen = len(page.text.splitlines())
    eventually(page.lines(seen + 20), 5)
    assert page.text.splitlines() == [f"line {n + 1}" for n in range(len(page.text.splitlines()))]
    (lab.folder / "go").touch()
    lab.becomes(task_id, "COMPLETED")
    assert page.read() == "all done\n"


def test_nothing_is_saved_for_nobody_and_again_when_somebody_comes_back(lab: Lab) -> None:
    _, page = running(lab, "1")
    run = lab.db.scheduler_run
    page.look()
    eventually(page.lines(2), 4)
    lab.fresh()(run.id == page.run_id).update(watched_until=1.0)  # as if that was long ago
    lab.db.commit()

    def rests() -> bool:
        """For a second and a half, in which its progress was saved several times."""
        before, at = page.read(), lab.runs()[0].progress["at"]
        eventually(lambda: lab.runs()[0].progress["at"] > at + 30)
        return page.read() == before

    eventually(rests, 8)
    seen = len(page.text.splitlines())
    page.look()
    eventually(page.lines(seen + 20), 4)


def test_output_is_saved_although_the_task_tells_its_progress_all_the_time(lab: Lab) -> None:
    _, page = running(lab, "1", sync_output=1)
    eventually(page.lines(5), 5)
    seen = len(page.text.splitlines())
    eventually(page.lines(seen + 5), 5)
