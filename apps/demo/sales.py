"""Work on the order book: add it up by month and region. Knows CSV, no database."""

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

Sums = dict[str, dict[str, Decimal]]


def orders(source: Path) -> Iterator[tuple[str, str, Decimal]]:
    """Month, region and value of every order; a bad line is named, not skipped."""
    with source.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        for row in reader:
            try:
                value = int(row["quantity"]) * Decimal(row["price"])
            except (ArithmeticError, TypeError, ValueError) as error:
                place = f"{source.name}, line {reader.line_num}"
                raise ValueError(f"{place}: quantity or price is not a number") from error
            yield row["date"][:7], row["region"], value


def add_up(source: Path) -> Sums:
    """Turnover of every month in every region, months in order."""
    sums: Sums = defaultdict(lambda: defaultdict(Decimal))
    for month, region, value in orders(source):
        sums[month][region] += value
    return {month: dict(sums[month]) for month in sorted(sums)}


def write_report(sums: Sums, target: Path) -> None:
    """One line per month, one column per region, and the total."""
    regions = sorted({region for month in sums.values() for region in month})
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    with unfinished.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["month", *regions, "total"])
        for month, by_region in sums.items():
            values = [by_region.get(region, Decimal("0.00")) for region in regions]
            writer.writerow([month, *values, sum(values)])
    unfinished.replace(target)


def letter(subject: str, region: str, turnover: Decimal) -> str:
    """What a dealer is told."""
    return (
        f"Subject: {subject}\n\nDear dealer in {region},\nyou sold for {turnover} EUR. Thank you!\n"
    )
