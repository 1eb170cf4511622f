"""Workers on many machines share one database; one machine loses sight of it for half a minute."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import spans
from support.databases import Database, PostgreSQL, Shared
from support.home import lab_on
from support.hosts import Host, Remote, hosts
from support.kit import Lab, eventually, is_alive
from support.spans import Life
from support.throwaway import Missing

LEASE = 5.0  # seconds, with a heartbeat of one
LONG, EVERY = 6.0, 100
CUT = 30.0  # seconds
COMES_BACK = 5.0  # seconds


class Site:
    """Hosts, and a lab whose database they reach over their network."""

    def __init__(self, lab: Lab, machines: list[Host], address: str) -> None:
        self.lab, self.machines, self.address = lab, machines, address
        self.workers: dict[Host, list[Remote]] = {host: [] for host in machines}
        spans.write_program(lab, "heartbeat=1, slots=2, keep_empty_runs=True")

    def start(self, *machines: Host) -> None:
        """A worker on each of them."""
        for host in machines:
            worker = host.start(spans.PROGRAM, [], self.lab.folder)
            self.workers[host].append(worker)
            self.lab.workers.append(worker)
        eventually(lambda: len(self.names()) == len(self.lab.workers), 40)

    def names(self, *of: Host) -> set[str]:
        """Of the workers there."""
        logs = [worker.log for host in of or self.machines for worker in self.workers[host]]
        found = (re.search(r"worker (\S+) started", log) for log in logs)
        return {match[1] for match in found if match}

    def leading(self) -> Host | None:
        """Where the one worker is that leads."""
        leaders = {row.worker_name for row in self.workers_alive() if row.is_ticker}
        return next(
            (host for host in self.machines if leaders and leaders <= self.names(host)), None
        )

    def workers_alive(self, after: float = 0.0) -> list[Any]:
        """Their rows, if they have beaten after that time."""
        worker = self.lab.db.scheduler_worker
        return self.rows(worker.lease_until > after + LEASE)

    def runs(self) -> dict[int, Any]:
        return {run.id: run for run in self.rows(self.lab.db.scheduler_run)}

    def long_runs(self, host: Host) -> list[int]:
        """Those that are at work there."""
        run, span = self.lab.db.scheduler_run, self.lab.db.span
        begun = (span.ended == None) & (span.run_id == run.id) & (run.status == "RUNNING")
        there = self.rows(begun & run.worker_name.belongs(self.names(host)))
        return [row.scheduler_run.id for row in there]

    def rows(self, query: Any) -> list[Any]:
        rows = list(self.lab.fresh()(query).select())
        self.lab.db.commit()
        return rows


@contextmanager
def site(folder: Path, servers: Shared, *names: str) -> Iterator[Site]:
    try:
        with hosts(*names) as (network, machines):
            listen = f"127.0.0.1,{network.address}"
            with PostgreSQL(listen, network.network) as server, server.fresh_database() as here:
                uri = server.uri(here.rpartition("/")[2], network.address)
                with lab_on(Database(uri, server), folder) as lab:
                    yield Site(lab, machines, network.address)
    except Missing as error:
        servers.missing["hosts"] = str(error)
        raise


@pytest.mark.slow
def test_a_host_that_is_cut_off_loses_no_work_and_doubles_none(
    tmp_path: Path, servers: Shared
) -> None:
    with site(tmp_path, servers, "web1", "web2", "web3") as one:
        ids = spans.queue(one.lab, 988, EVERY, LONG)
        one.start(*one.machines * 2)
        host = eventually(one.leading)
        ids += spans.queue(one.lab, 12, 1, LONG)
        eventually(lambda: len(one.long_runs(host)) >= 2, 40)
        host.cut()
        cut_at = time.monotonic()
        ids += spans.queue(one.lab, 3000, EVERY, LONG)
        eventually(lambda: time.monotonic() > cut_at + CUT, CUT + 1)
        joined_at = joined(one, host)
        ids += spans.queue(one.lab, 1000, EVERY, LONG)
        eventually(lambda: not spans.left(one.lab), 120)
        lived = spans.assert_the_laws(one.lab, ids)
        assert_only_what_was_lost_ran_again(one, host, cut_at, lived)
        assert_others_went_on(host, cut_at, joined_at, lived)
        assert sum(row.is_ticker for row in one.workers_alive()) == 1
        assert not any("unexpected" in worker.log for worker in one.lab.workers)


def joined(one: Site, host: Host) -> float:
    """When it was joined again; its workers come back by themselves."""
    joined_at, since = time.monotonic(), time.time()
    host.join()
    names = one.names(host)

    def are_back() -> bool:
        return names <= {row.worker_name for row in one.workers_alive(since)}

    eventually(are_back, COMES_BACK)
    return joined_at


def assert_only_what_was_lost_ran_again(
    one: Site, host: Host, cut_at: float, lived: dict[int, list[Life]]
) -> None:
    """What the host ran when it was cut off ended with its lease, was run again elsewhere before
    it was joined, and what it had to say of it then was dropped."""
    runs = one.runs()
    lost = {run.id for run in runs.values() if run.status != "COMPLETED"}
    assert {runs[run_id].worker_name for run_id in lost} <= one.names(host)
    twice = [its for its in lived.values() if len(its) > 1]
    assert twice, "nothing was lost"
    lost_lives = {life.run_id for its in lived.values() for life in its} & lost
    assert {life.run_id for its in twice for life in its[:-1]} == lost_lives
    for first, second in twice:
        assert first.host == host.address != second.host
        assert first.last < cut_at + LEASE < cut_at + CUT > second.first
    logs = "".join(worker.log for worker in one.workers[host])
    dropped = {int(number) for number in re.findall(r"report of run (\d+) .* dropped", logs)}
    assert lost_lives <= dropped


def assert_others_went_on(
    host: Host, cut_at: float, joined_at: float, lived: dict[int, list[Life]]
) -> None:
    begun = [(life.host == host.address, life.first) for its in lived.values() for life in its]
    assert sum(cut_at < at < joined_at for there, at in begun if not there) > 100
    assert not any(cut_at + LEASE < at < joined_at for there, at in begun if there)
    assert any(at > joined_at for there, at in begun if there), "it works on"


def test_hosts_of_the_same_name_and_process_numbers_do_no_harm(
    tmp_path: Path, servers: Shared
) -> None:
    with site(tmp_path, servers, "web", "web", "web") as one:
        one.start(*one.machines)
        assert len({name.rpartition("#")[0] for name in one.names()}) == 1 < len(one.names())
        ids = spans.queue(one.lab, 300, EVERY, 0.01) + spans.queue(one.lab, 6, 1, 4.0)
        eventually(lambda: all(len(one.long_runs(host)) == 2 for host in one.machines), 20)
        dying, *_ = one.machines
        lost = one.long_runs(dying)
        one.workers[dying][0].kill()
        eventually(lambda: not spans.left(one.lab), 60)
        lived = spans.assert_the_laws(one.lab, ids)
        again = [life.run_id for its in lived.values() for life in its[:-1]]
        assert sorted(again) == sorted(lost)
        assert {name for name in one.names() - one.names(dying)} == one.lab.worker_names()


def test_a_host_that_alone_is_refused_by_the_database_ends_its_runs_with_its_lease(
    tmp_path: Path, servers: Shared
) -> None:
    """As by a firewall, or where a pooler of its own is down: the others can go on."""
    with site(tmp_path, servers, "web1", "web2") as one:
        refused, other = one.machines
        one.start(refused)
        ids = spans.queue(one.lab, 2, 1, LEASE + 2)
        eventually(lambda: len(one.long_runs(refused)) == 2, 20)
        one.start(other)
        refused.shut(one.address)
        shut_at = time.monotonic()
        eventually(lambda: not spans.left(one.lab), 60)
        for first, second in spans.assert_the_laws(one.lab, ids).values():
            assert first.host == refused.address != second.host
            assert first.last < shut_at + LEASE


def test_hosts_go_with_whoever_made_them_also_by_kill_9(servers: Shared) -> None:
    code = """
import subprocess
from support.hosts import hosts
with hosts("web") as (network, [host]):
    sleeper = subprocess.Popen(host.command("sleep", "300"))
    print(network.address, network.pid, host.pid, flush=True)
    sleeper.wait()
"""
    try:
        with hosts("web"):
            pass
    except Missing as error:
        servers.missing["hosts"] = str(error)
        raise
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tests) as maker:
        address, *pids = maker.stdout.readline().split()
        maker.kill()
    eventually(lambda: not any(is_alive(int(pid)) for pid in pids))
    eventually(lambda: address.decode() not in addresses())


def addresses() -> set[str]:
    return {address.address for some in psutil.net_if_addrs().values() for address in some}
