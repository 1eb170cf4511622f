"""Bar charts of the medians: `results.svg`.

Requires matplotlib, which is installed only in the environment of the benchmark; without it there
is no chart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import FOLDER, Cell, Part, cells

KEPT = "no-op, result kept"
OURS, OTHERS = "#1f77b4", "#b0b0b0"
Panel = tuple[str, str, dict[str, Cell]]  # title, metric, results


def draw(parts: dict[str, Part], name: str = "results.svg") -> Path | None:
    """Draw one panel for each case; return None if there are no results or no matplotlib."""
    panels = [panel for part in parts.values() for panel in panels_of(part)]
    try:
        import matplotlib
    except ImportError:
        return None
    if not panels:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    heights = [len(found) + 2 for _, _, found in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(9, 0.27 * sum(heights) + 0.5),
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
        squeeze=False,
    )
    for panel, (one,) in zip(panels, axes, strict=True):
        bars(one, panel)
    path = FOLDER / name
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def draw_first(parts: dict[str, Part]) -> None:
    """Draw the chart for the documentation: `drain.svg`."""
    if "drain" in parts:
        found = [one for one in parts["drain"]["found"] if one["case"] == KEPT]
        draw({"drain": {**parts["drain"], "found": found}}, "drain.svg")


def panels_of(part: Part) -> list[Panel]:
    metric: str = part["metric"]
    panels = [
        (
            f"{part['title']}: {case}",
            metric,
            {who: one for who, one in found.items() if metric in one},
        )
        for case, found in cells(part).items()
    ]
    return [panel for panel in panels if panel[2]]


def bars(axes: Any, panel: Panel) -> None:
    """Draw the median (or p50), with a line from minimum to maximum (or to p95)."""
    title, metric, found = panel
    rows = [cell[metric] for cell in found.values()]
    middles = [one.get("p50", one.get("median")) for one in rows]
    low = [one.get("median", 0.0) - one.get("least", 0.0) for one in rows]
    high = [one.get("p95", one.get("most")) for one in rows]
    high = [max(0.0, most - middle) for most, middle in zip(high, middles, strict=True)]
    unit, labels = rows[0]["unit"], list(found)
    colors = [OURS if one["peer"].startswith("ours") else OTHERS for one in rows]
    axes.barh(labels, middles, xerr=[low, high], color=colors, ecolor="#505050", capsize=2)
    for place, middle in enumerate(middles):
        axes.annotate(
            f" {middle:,.0f}" if middle >= 10 else f" {middle:.2f}",
            (max(0.0, middle), place),
            xytext=(2, 6),
            textcoords="offset points",
            fontsize=6,
            va="center",
        )
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    told = {"delay": "p50, and p95"}.get(metric, "median, minimum and maximum")
    axes.set_xlabel(f"{unit} ({told})", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
