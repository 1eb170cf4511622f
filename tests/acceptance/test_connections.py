"""How many connections there are, and that each is opened as the app opens its own."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from support.kit import TERM, Lab, Worker, eventually
from support.throwaway import new_name

SOURCE = """
def hold(name):
    mark(name); db.commit(); db(db.mark).count()
    while not os.path.exists("enough"): time.sleep(0.01)
"""
#: Of a worker without work: the engine's; and who listens.
RESTING = {"postgres": 2, "mysql": 1}
PROGRAM = """
import sys, time
from pydal import DAL, Field
from plugin_scheduler import Scheduler, current_task
db = DAL({uri!r}, folder={folder!r}, migrate=False, **{options!r})
db.define_table("mark", Field("name"), Field("run_id", "integer"), Field("at", "double"))
def stamp():
    db.mark.insert(name="stamp", run_id=current_task.run_id, at=time.time())
scheduler = Scheduler(
    db, dict(stamp=stamp), heartbeat=1, application_name="lab", migrate=False
)
if __name__ == "__main__":
    sys.exit(scheduler.loop())
"""
ODD = "p@ss/w:rd%"


def database_of(lab: Lab) -> str:
    return lab.uri.rpartition("/")[2].partition("?")[0]


def others(lab: Lab) -> int:
    """How many connections lead to the lab's database; our own is on its way out."""
    lab.hang_up()
    name = database_of(lab)
    query = {
        "postgres": f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' "
        "AND backend_type = 'client backend'",
        "mysql": f"SELECT count(*) FROM information_schema.processlist WHERE db = '{name}'",
    }[lab.server.kind]
    [[count]] = lab.server.execute(query)
    return int(count)


def test_a_worker_needs_two_connections_and_one_for_each_run(server_lab: Lab) -> None:
    lab = server_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-n", "3", "-b", "1")
    resting = RESTING[lab.server.kind]
    eventually(lambda: others(lab) == resting)
    ids = [lab.queue("hold", name) for name in ("one", "two")]
    eventually(lambda: len(lab.marks()) == 2)
    eventually(lambda: others(lab) == resting + 2)
    (lab.folder / "enough").touch()
    for task_id in ids:
        lab.becomes(task_id, "COMPLETED")
    eventually(lambda: others(lab) == resting, 10, "runners without work close theirs")
    worker.send(TERM)
    assert worker.wait() == 0
    eventually(lambda: others(lab) == 0)


def start_program(lab: Lab, uri: str, options: dict[str, Any], **env: str) -> Worker:
    """A program that opens its database as it likes, and makes a worker of itself."""
    _ = lab.db
    source = PROGRAM.format(uri=uri, folder=str(lab.folder), options=options)
    (lab.folder / "program.py").write_text(textwrap.dedent(source))
    worker = Worker(["program.py"], lab.folder, env, command=[sys.executable])
    lab.workers.append(worker)
    return worker


@contextmanager
def somebody(lab: Lab, password: str) -> Iterator[str]:
    """A user of the server, with all rights to the lab's database; his name."""
    _ = lab.db
    name = "s" + new_name()[-12:]
    lab.server.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
    try:
        yield name
    finally:
        for worker in lab.workers:
            worker.kill()
        lab.db.executesql(f"DROP OWNED BY {name} CASCADE")
        lab.db.commit()
        lab.server.execute(f"DROP ROLE {name}")


def address_of(lab: Lab, who: str) -> str:
    head, _, place = lab.uri.rpartition("@")
    return f"{head.partition('://')[0]}://{who}@{place}"


@pytest.mark.parametrize("options", [{}, {"pool_size": 5, "driver_args": {"sslmode": "prefer"}}])
def test_a_password_of_strange_letters_opens_every_connection(
    postgres_lab: Lab, options: dict[str, Any]
) -> None:
    lab = postgres_lab
    with somebody(lab, ODD) as name:
        uri = address_of(lab, f"{name}:{quote(ODD, safe='')}")
        start_program(lab, uri, {"decode_credentials": True, **options})
        lab.becomes(lab.queue("stamp"), "COMPLETED")
        users = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{name}'"
        assert lab.server.execute(users)[0][0] >= 2
        assert len(lab.marks("stamp")) == 1


def test_a_password_may_be_in_a_file_of_ones_own(postgres_lab: Lab) -> None:
    lab = postgres_lab
    with somebody(lab, ODD) as name:
        one, database = lab.server.address, database_of(lab)
        pgpass = lab.folder / "pgpass"
        secret = ODD.replace(":", "\\:")
        pgpass.write_text(f"{one.host}:{one.port}:{database}:{name}:{secret}\n")
        pgpass.chmod(0o600)
        start_program(lab, address_of(lab, name), {}, PGPASSFILE=str(pgpass))
        lab.becomes(lab.queue("stamp"), "COMPLETED")
        assert len(lab.marks("stamp")) == 1


def test_a_pool_and_the_drivers_own_options_are_kept_on_mysql(mysql_lab: Lab) -> None:
    lab = mysql_lab
    options = {
        "pool_size": 5,
        "driver_args": {"init_command": "SET @a = 'app'", "client_flag": 1 << 16},
    }
    start_program(lab, lab.uri, options)
    lab.becomes(lab.queue("stamp"), "COMPLETED")
    lab.becomes(lab.queue("stamp"), "COMPLETED")
    assert len(lab.marks("stamp")) == 2
