"""Command `python -m bench [PART ...]`: measure this scheduler and other products in one run."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from bench import chart, report
from bench.parts import NAMES
from bench.peers import KNOWN
from bench.places import Places
from bench.rounds import Bench


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, metavar="[PART ...]", type=click.Choice(NAMES))
@click.option("--rounds", default=5, show_default=True, help="Turns of each peer.")
@click.option(
    "--tasks", default=10_000, show_default=True, help="Maximum number of tasks of a turn."
)
@click.option(
    "--only", multiple=True, type=click.Choice(list(KNOWN)), help="Only this peer; can be repeated."
)
def main(parts: tuple[str, ...], rounds: int, tasks: int, only: tuple[str, ...]) -> None:
    """Measure this scheduler and other products: PARTs are drain, processes, limit, enqueue,
    latency, load, backlog, claims, idle, memory, killed, growth and pages; the default is all of
    them.

    All peers take turns, round after round. The terminal shows medians. bench/results contains
    every value in results.json, tables in results.md and a chart in results.svg, and keeps earlier
    results of other parts. A turn of a slow peer has fewer tasks: as many as it runs in two
    seconds.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stop the servers as well
    warnings.simplefilter("ignore")
    names = [name for name in KNOWN if not only or name in only]
    asked = list(parts or NAMES)
    with Places() as places:
        bench = Bench(max(1, rounds), max(1, tasks), names, places)
        for part in asked:
            module: Any = importlib.import_module(f"bench.parts.{part}")
            try:
                module.run(bench)
            finally:  # also save the results of an interrupted part
                found = report.part_of(bench, part)
                report.tell(found)
                known = report.save(part, found)
        for kind, version in places.versions().items():
            click.echo(f"{kind}: {version}")
    click.echo(f"written: {relative(report.FOLDER)}/results.json, results.md")
    drawn = chart.draw(known)
    chart.draw_first(known)
    click.echo(f"written: {relative(drawn)}" if drawn else "no chart: matplotlib is not installed")


def relative(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    main()
