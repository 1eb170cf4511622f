"""Parts of the benchmark, a module each: `TITLE`, `METRIC` for the chart, and `run(bench)`."""

NAMES = (
    "drain",
    "processes",
    "limit",
    "enqueue",
    "latency",
    "load",
    "backlog",
    "claims",
    "idle",
    "memory",
    "killed",
    "growth",
    "pages",
)
