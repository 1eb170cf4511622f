"""Results: for the terminal, as tables, and as JSON.

Results are stored by part, and a later run of a part replaces them. `results.json` contains every
single value, `results.md` the tables; `chart` draws them. Does not measure.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.parts import NAMES
from bench.peers import find, versions
from bench.rounds import Bench, describe

FOLDER = Path(__file__).parent / "results"
Part = dict[str, Any]
Cell = dict[str, dict[str, Any]]  # metric -> result


def cells(part: Part) -> dict[str, dict[str, Cell]]:
    """Return case -> title of a peer -> metric -> result, in the order of the peers."""
    sorted_: dict[str, dict[str, Cell]] = {}
    for one in sorted(part["found"], key=lambda one: one["place"]):
        title = part["peers"].get(one["peer"], {}).get("title", one["peer"])
        sorted_.setdefault(one["case"], {}).setdefault(title, {})[one["metric"]] = one
    return sorted_


def summary(metric: str, values: list[float]) -> dict[str, float]:
    """Return percentiles of delays; of other metrics the median, minimum and maximum."""
    if metric == "delay" and len(values) > 1:
        centiles = statistics.quantiles(values, n=100, method="inclusive")
        return {"p50": centiles[49], "p95": centiles[94], "p99": centiles[98]}
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


# -- for persons -----------------------------------------------------------------------------------


def rows(part: Part) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield a table for each case; its first row contains the headings."""
    for case, found in cells(part).items():
        metrics = {metric: one["unit"] for cell in found.values() for metric, one in cell.items()}
        heads = [f"{metric}, {unit}" if unit else metric for metric, unit in metrics.items()]
        yield (
            f"{part['title']}: {case}",
            [
                ["product", *heads],
                *(
                    [name, *(words(cell.get(one)) for one in metrics)]
                    for name, cell in found.items()
                ),
            ],
        )


def tell(part: Part) -> None:
    """Print the tables on the terminal."""
    console = Console()
    for title, (heads, *others) in rows(part):
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        table = Table()
        for head in heads:
            right = head != "product"
            table.add_column(head, justify="right" if right else "left", no_wrap=not right)
        for row in others:
            table.add_row(*row)
        console.print(table)
    for one in part["not_run"]:
        console.print(f"not run: {not_run(part, one)}", markup=False, highlight=False)


def not_run(part: Part, one: dict[str, str]) -> str:
    title = part["peers"].get(one["peer"], {}).get("title", one["peer"])
    return f"{' '.join(filter(None, (one['case'], title)))}: {one['why']}"


def in_markdown(results: dict[str, Part]) -> str:
    """Return all tables of all parts."""
    lines = ["# Results", "", "Made by `python -m bench`; every value is in `results.json`.", ""]
    for name, part in results.items():
        machine, servers = part["machine"], ", ".join(part["servers"].values())
        lines += [f"## {name}", ""]
        about = f"{part['rounds']} rounds of at most {part['tasks']:,} tasks, {part['made'][:10]}"
        system = f"Python {machine['python']}, {machine['cpus']} CPUs ({machine['processor']})"
        lines += [f"{about}; {system}{'; ' if servers else ''}{servers}", ""]
        for title, (heads, *others) in rows(part):
            lines += [f"**{title}**", "", f"| {' | '.join(heads)} |"]
            lines += [f"| --- |{' ---: |' * (len(heads) - 1)}"]
            lines += [f"| {' | '.join(row)} |" for row in others]
            lines += [""]
        lines += [f"Not run: {not_run(part, one)}\n" for one in part["not_run"]]
    return "\n".join(lines)


def words(one: dict[str, Any] | None) -> str:
    if one is None:
        return "-"
    if "p50" in one:
        return "  ".join(f"{key} {number(one[key])}" for key in ("p50", "p95", "p99"))
    differs = one["least"] != one["most"]
    spread = f"  ({number(one['least'])} to {number(one['most'])})" if differs else ""
    return number(one["median"]) + spread


def number(value: float) -> str:
    return (
        f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    )


# -- for programs ----------------------------------------------------------------------------------


def part_of(bench: Bench, name: str) -> Part:
    """Return all results of one part so far."""
    module: Any = importlib.import_module(f"bench.parts.{name}")
    mine = {key: values for key, values in bench.found.items() if key[0] == name}
    names = {peer for _, _, peer, _ in mine}
    order = {peer: place for place, peer in enumerate(bench.names)}
    return {
        "title": module.TITLE,
        "metric": module.METRIC,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": bench.rounds,
        "tasks": bench.tasks,
        "servers": bench.places.versions(),
        "peers": {peer: about(peer) for peer in bench.names if peer in names},
        "found": [
            {
                "case": case,
                "peer": peer,
                "place": order.get(peer, len(order)),
                "metric": metric,
                "unit": bench.units[metric],
                **summary(metric, values),
                "values": [round(value, 4) for value in values],
            }
            for (_, case, peer, metric), values in mine.items()
        ],
        "not_run": [one for one in bench.not_run if one["part"] in (name, "all")],
    }


def save(name: str, part: Part) -> dict[str, Part]:
    """Store the results of a part, keep those of other parts, and return all. Results of an
    interrupted run are kept as well."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "results.json"
    known = json.loads(path.read_text())["parts"] if path.exists() else {}
    if part["found"]:
        known[name] = part
    known = {one: known[one] for one in NAMES if one in known}
    path.write_text(json.dumps({"parts": known}, indent=1) + "\n")
    (FOLDER / "results.md").write_text(in_markdown(known))
    return known


def about(name: str) -> dict[str, Any]:
    """Return a peer's title, versions and settings, with the docstring of its module."""
    found = find(name)
    module = importlib.import_module(found.__module__)
    return {**describe(name), "versions": versions(found), "notes": module.__doc__}


def machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


def processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
