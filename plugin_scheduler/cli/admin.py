"""Sub-commands for administrators: `upgrade` and `doctor`.

Report what they found and did, with exit codes for scripts. `models.widen` and the package `doctor`
do the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from plugin_scheduler.cli.commands import COMMANDS as COMMANDS
from plugin_scheduler.cli.commands import Answer, sub_command
from plugin_scheduler.cli.context import Desk
from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.doctor import Exam, examine
from plugin_scheduler.models import upgrade_plan
from plugin_scheduler.queries.views import quantity, span
from plugin_scheduler.queries.warnings import ERROR, NOTE, WARNING, exit_code
from plugin_scheduler.system.clock import SYSTEM


@sub_command(
    checks=True,
    takes_old_tables=True,
    example="doctor -K shop\ndoctor -u sqlite://s.sqlite -f data --json",
)
def doctor(desk: Desk) -> Answer:
    """Check the installation: database, tables, workers, this machine.

    Reads only, and takes seconds even with millions of rows. Exit codes: 0 no findings, or only
    notes, 1 warnings, 2 errors, or the database cannot be used. With --json, each finding has a
    stable code, its severity, a sentence and a cure.
    """
    exam = Exam(desk.scheduler.db, desk.queries, desk.scheduler.settings, desk.lacks)
    found = examine(exam)
    counts = {kind: sum(one.severity == kind for one in found) for kind in (ERROR, WARNING, NOTE)}
    document = {**counts, "findings": [asdict(one) for one in found]}
    code = exit_code(one.severity for one in found)
    return Answer(document, lambda screen: screen.findings(found), code)


TO_DO = 1  # exit code of a dry run
MB = 1_000_000


@sub_command(
    click.option("--dry-run", is_flag=True, help="Print the steps, and change nothing."),
    click.option("--force", is_flag=True, help="Continue although workers are alive."),
    example="upgrade -K shop --dry-run\nupgrade -u sqlite://s.sqlite -f data",
    takes_old_tables=True,
)
def upgrade(desk: Desk, dry_run: bool, force: bool) -> Answer:
    """Upgrade old tables: add missing columns, widen ids to 64 bits, correct sequences.

    Each step is one transaction, so the command can be interrupted and repeated. Exit codes with
    --dry-run: 0 nothing to do, 1 there are steps to do.
    """
    db = desk.scheduler.db
    missing = [step for lack in desk.lacks for step in upgrade_plan.additions(lack)]
    steps, obstacle = [*missing, *upgrade_plan.plan(db)], upgrade_plan.obstacle(db)
    if dry_run:
        told = [{**_facts(step), "seconds": step.seconds, "done": False} for step in steps]
        return _answer(told, dry_run, obstacle)
    if not force and any(step.kind not in upgrade_plan.HARMLESS for step in steps):
        _refuse_beside_workers(desk)
    if obstacle:
        raise ConfigError(obstacle)
    told = []
    if missing:
        began = SYSTEM.monotonic()
        click.echo(
            f"adding missing tables and columns: {', '.join(map(str, desk.lacks))} ...", err=True
        )
        desk.complete_tables()
        took = SYSTEM.monotonic() - began
        told += [{**_facts(step), "seconds": round(took, 3), "done": True} for step in missing]
    return _answer(told + _carried_out(db, upgrade_plan.plan(db)), dry_run)


def _carried_out(db: Any, steps: Sequence[upgrade_plan.UpgradeStep]) -> list[dict[str, Any]]:
    told = []
    for number, step in enumerate(steps, 1):
        words = f"{number} of {len(steps)}: {step.table}: {step.does}{_how_long(step)}"
        click.echo(f"{words} ...", err=True)
        began = SYSTEM.monotonic()
        is_ours = upgrade_plan.carry_out(db, step)
        took = SYSTEM.monotonic() - began
        click.echo(
            f"  done in {span(took)}" if is_ours else "  already done by another process", err=True
        )
        told.append({**_facts(step), "seconds": round(took, 3), "done": True})
    return told


def _facts(step: upgrade_plan.UpgradeStep) -> dict[str, Any]:
    return {name: value for name, value in asdict(step).items() if name != "statements"}


def _answer(told: Sequence[dict[str, Any]], dry_run: bool, obstacle: str = "") -> Answer:
    lines = [_line(step, dry_run) for step in told] or ["nothing to do"]
    if obstacle:
        lines.append(f"before this: {obstacle}")
    document = {"dry_run": dry_run, "steps": told}
    code = TO_DO if dry_run and told else 0
    return Answer(document, lambda screen: screen.lines(lines), code)


def _line(step: dict[str, Any], dry_run: bool) -> str:
    would = "to do" if dry_run else "done"
    size = f", {step['size'] / MB:,.0f} MB" if step["size"] >= MB else ""
    about = f", about {span(step['seconds'])}" if dry_run and step["seconds"] >= 1 else ""
    return f"{would}: {step['table']}: {step['does']}{size}{about}"


def _how_long(step: upgrade_plan.UpgradeStep) -> str:
    return f" (may take {span(step.seconds)})" if step.seconds >= 1 else ""


def _refuse_beside_workers(desk: Desk) -> None:
    if alive := desk.alive():
        raise ConfigError(
            f"{quantity(len(alive), 'worker')} alive: {', '.join(alive[:5])}. Each table is locked "
            "while it is changed, and older workers do not know the new names of columns. Stop the "
            "workers first (status TERMINATE in scheduler_worker, or SIGTERM). With --force the "
            "workers wait, and another worker may start their running tasks again. Nothing was "
            "changed"
        )
