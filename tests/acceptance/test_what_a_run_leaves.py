"""What a run leaves behind is not there for the next one: transactions, sessions, process state."""

from __future__ import annotations

import re
from typing import Any

from support.kit import TERM, Lab, eventually

OTHER = """
def other_dal():
    uri = {other!r}
    db = DAL(uri, folder={folder!r})
    db.define_table("sale", Field("amount", "integer"))
    return db
"""


def sources(lab: Lab, source: str) -> None:
    """A file of tasks beside a second database: another SQLite file, or the lab's own server."""
    other = "sqlite://other.sqlite" if lab.server is None else lab.uri
    (lab.folder / "lazy.py").write_text(
        "from pydal import DAL, Field\n" + OTHER.format(other=other, folder=str(lab.folder))
    )
    lab.write_tasks(source)


def sales(lab: Lab) -> list[int]:
    from pydal import DAL, Field

    other = "sqlite://other.sqlite" if lab.server is None else lab.uri
    db = DAL(other, folder=str(lab.folder))
    try:
        db.define_table("sale", Field("amount", "integer"))
        return sorted(row.amount for row in db(db.sale).select())
    finally:
        db.commit()
        db.close()


def outcome(lab: Lab, function: str, *args: Any, **columns: Any) -> Any:
    """The task once its run has ended."""
    task_id = lab.queue(function, *args, **columns)
    return lab.becomes(task_id, "COMPLETED", "FAILED", "TIMEOUT", "STOPPED")


def failure(lab: Lab, function: str, *args: Any) -> str:
    row = outcome(lab, function, *args)
    assert (row.status, row.reason_code) == ("FAILED", "commit_failed"), row.as_dict()
    return str(lab.runs(row.id)[-1].traceback)


DATABASES = """
import lazy
kept = None
def a_dal():
    global kept
    kept = kept or lazy.other_dal()
    return kept
def sell(amount): a_dal().sale.insert(amount=amount); return "sold"
def made_here(amount): lazy.other_dal().sale.insert(amount=amount); return "sold"
def fails(amount): a_dal().sale.insert(amount=amount); raise ValueError("no")
def pid(): return os.getpid()
def define():
    db.define_table("extra", Field("name"), migrate=False)
    db.define_table("extra_line", Field("extra", "reference extra"), migrate=False)
    return len(db.extra._referenced_by)
def swallow(name):
    mark(name)
    try: db.executesql("INSERT INTO no_such_table VALUES (1)")
    except Exception: pass
def swallow_and_close(name):
    mark(name)
    try: db.executesql("INSERT INTO no_such_table VALUES (1)")
    except Exception: pass
    db._adapter.close()
def swallow_and_go_on(name):
    swallow(name)
    db.rollback()
    mark(name)
"""


def test_every_database_that_a_run_has_opened_commits_or_rolls_back_with_it(each_lab: Lab) -> None:
    lab = each_lab
    sources(lab, DATABASES)
    lab.start_worker()
    before = outcome(lab, "pid")
    assert outcome(lab, "fails", 1).status == "FAILED"
    assert outcome(lab, "sell", 2).status == "COMPLETED"
    assert outcome(lab, "made_here", 3).status == "COMPLETED"
    assert outcome(lab, "sell", 4).status == "COMPLETED"
    assert sales(lab) == [2, 3, 4]
    for _ in range(3):  # the second and third find what the first has defined
        row = outcome(lab, "define")
        assert lab.runs(row.id)[-1].run_result == "1"
    after = outcome(lab, "pid")
    results = [lab.runs(row.id)[-1].run_result for row in (before, after)]
    assert results[0] == results[1], "none of this needs another process"


def test_a_commit_that_did_not_happen_is_a_failure(postgres_lab: Lab) -> None:
    lab = postgres_lab
    sources(lab, DATABASES)
    lab.start_worker()
    for function in ("swallow", "swallow_and_close"):
        assert "no_such_table" in failure(lab, function, function)
    assert outcome(lab, "swallow_and_go_on", "kept").status == "COMPLETED"
    assert [row.name for row in lab.marks()] == ["kept"]


LOST = """
import threading
def victim(name):
    # Two transactions that wait for each other: the server ends the smaller one, wholly.
    mark(name)
    db.executesql("UPDATE mark SET at = 1 WHERE id = 2")
    other = db._adapter.driver.connect(**db._adapter.driver_args)
    cursor = other.cursor()
    rows = [(n,) for n in range(99)]
    cursor.executemany("INSERT INTO mark (name, at) VALUES ('other', %s)", rows)
    cursor.execute("UPDATE mark SET at = 2 WHERE id = 1")
    second = "UPDATE mark SET at = 2 WHERE id = 2"
    thread = threading.Thread(target=cursor.execute, args=[second])
    thread.start()
    try: db.executesql("UPDATE mark SET at = 1 WHERE id = 1")
    except Exception as error: print("caught", error)
    thread.join()
    other.rollback()
    other.close()
    mark(name)
def full(name):
    mark(name)
    trigger = "BEFORE UPDATE ON mark BEGIN SELECT RAISE(ROLLBACK, 'full'); END"
    db.executesql("CREATE TRIGGER stop " + trigger)
    try: db(db.mark).update(at=1)
    except Exception as error: print("caught", error)
    mark(name)
"""


def test_a_transaction_that_the_database_ended_by_itself_is_a_failure(
    lab: Lab, mysql_lab: Lab
) -> None:
    for one, function, reason in ((lab, "full", "full"), (mysql_lab, "victim", "1213")):
        one.write_tasks(LOST)
        for name in ("one", "two"):
            one.db.mark.insert(name=name)
        one.db.commit()
        one.start_worker()
        assert reason in failure(one, function, "lost")
        assert one.marks("lost") == []


SESSIONS = {
    "sqlite": ["PRAGMA query_only=1", "CREATE TEMPORARY TABLE mark (name, run_id, at)"],
    "postgres": [
        "SET search_path TO pg_catalog",
        "CREATE TEMP TABLE mark (id serial, name text, run_id int, at float)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SELECT set_config('search_path', 'pg_catalog', false)",
    ],
    "mysql": [
        "SET SESSION TRANSACTION READ ONLY",
        "CREATE TEMPORARY TABLE mark (id int auto_increment primary key, name text, run_id int, "
        "at double)",
    ],
}
STATEMENTS = """
def say(statement): db.executesql(statement); return os.getpid()
def note(name): mark(name); return os.getpid()
"""


def test_a_run_begins_with_a_clean_session(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(STATEMENTS)
    lab.start_worker()
    kind = "sqlite" if lab.server is None else lab.server.kind
    pids = set()
    for statement in SESSIONS[kind]:
        for row in (outcome(lab, "say", statement), outcome(lab, "note", statement)):
            assert row.status == "COMPLETED", row.as_dict()
            pids.add(lab.runs(row.id)[-1].run_result)
    assert len(lab.marks()) == len(SESSIONS[kind])
    assert len(pids) == 1, "it takes a new connection, and no new process"


BARE = """
import sqlite3, threading, lazy
kept = []
def bare(amount):
    kept.append(sqlite3.connect("other.sqlite"))
    kept[-1].execute("INSERT INTO sale (amount) VALUES (?)", [amount])
def bare_again(amount): kept[-1].execute("INSERT INTO sale (amount) VALUES (?)", [amount])
def sell(amount): lazy.other_dal().sale.insert(amount=amount)
def insert_and_wait(done):
    dal = lazy.other_dal()
    dal.sale.insert(amount=5)
    done.set()
    time.sleep(60)
def thread(amount):
    done = threading.Event()
    threading.Thread(target=insert_and_wait, args=[done], daemon=True).start()
    done.wait()
    return os.getpid()
"""


def test_no_transaction_outlives_its_run(lab: Lab) -> None:
    sources(lab, BARE)
    assert sales(lab) == []
    lab.start_worker()
    for function in ("bare", "bare_again", "thread"):
        row = outcome(lab, function, 1)
        assert row.status == "COMPLETED", row.as_dict()
        if function != "thread":
            assert "rolled back" in lab.runs(row.id)[-1].run_output
        assert outcome(lab, "sell", 2, timeout=4).status == "COMPLETED"
    assert sales(lab) == [2, 2, 2]


STATE = """
import locale, resource, tempfile, shutil, threading, atexit, random
from decimal import getcontext
import pluralize
T = pluralize.Translator()
T.languages = {"it": {"hello": {"1": "ciao"}}, "en": {}}
def state():
    signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
    mask = os.umask(0); os.umask(mask)
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    return [os.getcwd(), mask, signal.alarm(0), blocked,
            str(signal.getsignal(signal.SIGCHLD)), str(signal.getsignal(signal.SIGUSR1)),
            sys.getrecursionlimit(), sorted(os.environ), time.tzname,
            len(logging.getLogger().handlers), logging.getLogger().level,
            resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_FSIZE),
            locale.setlocale(locale.LC_ALL), T.local.tag, getcontext().prec, sys.path, sys.argv,
            str(T("hello"))]
def pid(): return os.getpid()
def folder(): d = tempfile.mkdtemp(); os.chdir(d); shutil.rmtree(d)
def umask(): os.umask(0o777)
def alarm(): signal.setitimer(signal.ITIMER_REAL, 0.2)
def blocked(): signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
def ignored(): signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.signal(signal.SIGUSR1, print)
def recursion(): sys.setrecursionlimit(100)
def environment(): os.environ["TZ"] = "Asia/Tokyo"; os.environ.pop("HOME", 0); time.tzset()
def logs(): logging.basicConfig(force=True, level=logging.ERROR, filename=os.devnull)
def limits():
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
def words(): locale.setlocale(locale.LC_ALL, "C"); getcontext().prec = 3; sys.path.insert(0, "/x")
def italian(): T.select("it"); return str(T("hello"))
def sleep(): time.sleep(60)
def chatter(tag):
    while True: print(tag); time.sleep(0.01)
def lingers():
    threading.Thread(target=chatter, args=["chatter"], daemon=True).start()
    return os.getpid()
def hard(): resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)); return os.getpid()
def holds():
    global held
    held = tempfile.TemporaryDirectory()
    return held.name
def keeps():
    global kept
    kept = tempfile.TemporaryDirectory()
    atexit.register(lambda: open("said-goodbye", "w").close())
    threading.Thread(target=time.sleep, args=[0.3]).start()
    return kept.name
"""
RESET = "folder umask alarm blocked ignored recursion environment logs limits words italian".split()


def result(lab: Lab, function: str) -> Any:
    import json

    row = outcome(lab, function)
    assert row.status == "COMPLETED", lab.runs(row.id)[-1].traceback
    return json.loads(lab.runs(row.id)[-1].run_result)


def test_a_run_finds_its_process_as_the_first_one_found_it(lab: Lab) -> None:
    lab.write_tasks(STATE)
    lab.start_worker(LC_ALL="C.UTF-8", TZ="UTC")
    before, pid = result(lab, "state"), result(lab, "pid")
    for function in RESET:
        assert outcome(lab, function).status == "COMPLETED", function
        assert result(lab, "state") == before, function
    assert result(lab, "pid") == pid, "what can be reset costs no process"


def test_what_cannot_be_reset_costs_the_runner_its_place(lab: Lab) -> None:
    import os

    lab.write_tasks(STATE)
    worker = lab.start_worker()
    for function in ("lingers", "hard"):
        old = result(lab, function)
        row = outcome(lab, "pid")
        assert lab.runs(row.id)[-1].run_result != str(old), function
        assert not lab.runs(row.id)[-1].run_output
    assert re.search(r"INFO a runner exits after run .* lingers: 1 thread is still", worker.log)
    folder = result(lab, "keeps")
    eventually(lambda: (lab.folder / "said-goodbye").exists(), 10, "atexit runs")
    eventually(lambda: not os.path.exists(folder), 10, "its folder is removed")
    folder = result(lab, "holds")
    worker.send(TERM)
    assert worker.wait() == 0
    assert not os.path.exists(folder), "an idle runner leaves by itself, as its worker does"


OWN = """
import atexit, threading
seen = []
def pid(): return os.getpid()
def count():
    seen.append(1); os.chdir("/"); os.environ["X"] = "1"; mark("x")
    print("seen", flush=True)
    atexit.register(print, "too late")
    threading.Thread(target=time.sleep, args=[0.2]).start()
    return [len(seen), os.getcwd() == "/", "X" in os.environ]
def state(): return [len(seen), os.getcwd() == "/", "X" in os.environ]
def leaves(status): os._exit(status)
def crashes(): os.kill(os.getpid(), signal.SIGSEGV)
def slow():
    try: time.sleep(60)
    finally: print("finally")
def stubborn():
    while True:
        try: time.sleep(60)
        except BaseException: pass
def forks():
    pid = os.fork()
    if not pid: os._exit(0 if not current_task else 1)
    return os.waitpid(pid, 0)[1]
"""


def test_each_run_can_have_a_process_of_its_own(lab: Lab) -> None:
    lab.write_tasks(OWN)
    lab.start_worker("--runner-max-runs", "1")
    assert result(lab, "pid") != result(lab, "pid")
    assert result(lab, "count") == [1, True, True]
    assert result(lab, "state") == [0, False, False]
    assert [row.name for row in lab.marks()] == ["x"]
    assert result(lab, "forks") == 0
    for function, args, reason in (
        ("leaves", [0], "exit status 0"),
        ("leaves", [3], "exit status 3"),
        ("crashes", [], "SIGSEGV"),
    ):
        assert reason in outcome(lab, function, *args).reason
    row = outcome(lab, "slow", timeout=1)
    assert (row.status, lab.runs(row.id)[-1].run_output) == ("TIMEOUT", "finally\n")
    assert "in slow" in lab.runs(row.id)[-1].traceback
    assert outcome(lab, "stubborn", timeout=1).status == "TIMEOUT"
    assert result(lab, "state") == [0, False, False]
    assert all("too late" not in (run.run_output or "") for run in lab.runs())


LOCK = """
import fcntl
def lock():
    global kept
    kept = open("storage.sqlite-shm", "r+b")
    fcntl.lockf(kept, fcntl.LOCK_EX, 1, 120)  # that of the one who writes
    return os.getpid()
"""


def test_an_idle_runner_that_holds_the_lock_of_the_database_is_ended_and_named(lab: Lab) -> None:
    lab.write_tasks(LOCK)
    worker = lab.start_worker()
    row = outcome(lab, "lock")
    assert row.status == "COMPLETED"
    pid = lab.runs(row.id)[-1].run_result
    assert f"idle runners terminated, process {pid}" in worker.log
    assert "holds the write lock" not in worker.log
