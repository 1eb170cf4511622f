"""A real py4web server with its dashboard and an app `lab`, and a person at a browser.

`Browser` does what a browser does with a form: it sends every field that the page shows, the
selected option or the first one, times in the browser's own notation, text areas with CRLF.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import textwrap
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import py4web
import requests
from pydal.validators import CRYPT

from support.databases import SQLITE_FILE, Database
from support.kit import Lab, Worker, eventually

SQLITE = Database(SQLITE_FILE)
PASSWORD = "let me in"
MODELS = """
    import os, time
    from pathlib import Path
    from py4web import DAL
    from plugin_scheduler import Scheduler

    FOLDER = Path(__file__).parent / "databases"
    FOLDER.mkdir(exist_ok=True)
    db = DAL(URI, folder=str(FOLDER), pool_size=5)
    scheduler = Scheduler(db)

    def add(a, b):
        print("adding")
        return a + b

    def hold(path):
        print("holding", flush=True)
        while not os.path.exists(path):
            time.sleep(0.02)
        return "let go"

    def fail():
        print("about to fail")
        raise ValueError("no <luck>")
"""


class App(Lab):
    """The app `lab` of a folder of apps: its database, and workers started with -K.

    ``more`` is what its models say besides `MODELS`.
    """

    def __init__(self, apps: Path, database: Database = SQLITE, *more: str) -> None:
        self.apps = apps
        databases = apps / "lab" / "databases"
        databases.mkdir(parents=True)
        super().__init__(databases, database.uri, database.server)
        (apps / "__init__.py").write_text("")
        (apps / "lab" / "__init__.py").write_text("from .models import db, scheduler\n")
        models = [f"URI = {database.uri!r}\n", *map(textwrap.dedent, (MODELS, *more))]
        (apps / "lab" / "models.py").write_text("\n".join(models))

    def start_worker(self, *arguments: str, ready: bool = True, **env: str) -> Worker:
        """`scheduler.py -K lab`; ready when it runs tasks."""
        base = ["-K", "lab", "--apps-folder", str(self.apps), "-b", "1"]
        worker = Worker([*base, *arguments], self.folder, env)
        self.workers.append(worker)
        if ready:
            eventually(
                lambda: self.worker_row(worker) or worker.process.poll() is not None, 20, "a worker"
            )
        return worker


class Server:
    """`py4web run`, with the dashboard and whatever else is in the folder of apps."""

    def __init__(self, apps: Path) -> None:
        assets = Path(py4web.__file__).parent / "assets" / "py4web.app._dashboard.zip"
        with zipfile.ZipFile(assets) as archive:
            archive.extractall(apps / "_dashboard")
        password_file = apps.parent / "password.txt"
        password_file.write_text(str(CRYPT()(PASSWORD)[0]))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = apps.parent / "server.log"
        command = [sys.executable, "-m", "py4web", "run", str(apps), "-P", str(port), "-Y"]
        command += ["-p", str(password_file), "--watch", "off", "-s", "wsgiref+threaded"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=apps.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            eventually(self._answers, 30, "the server answers")
            assert "[FAILED]" not in self.log, self.log
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return requests.get(f"{self.url}/_dashboard/version", timeout=5).ok
        except requests.ConnectionError:
            return False

    @property
    def log(self) -> str:
        """What it printed."""
        return self.log_path.read_text(errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Form(HTMLParser):
    """The form of a page: what a browser would send, and what a person may choose from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.choices: dict[str, list[str]] = {}
        self.errors: dict[str, str] = {}
        self._select = self._area = self._last = ""
        self._in_error = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "p":
            self._in_error = "py4web-validation-error" in (given.get("class") or "")
        elif tag == "option" and self._select:
            if "selected" in given or not self.choices[self._select]:
                self.values[self._select] = value
            self.choices[self._select].append(value)
        elif name:
            self._field(tag, name, value, given)

    def _field(self, tag: str, name: str, value: str, given: dict[str, str | None]) -> None:
        self._last = name
        if tag == "select":
            self._select, self.choices[name] = name, []
        elif tag == "textarea":
            self._area, self.values[name] = name, ""
        elif tag == "input" and given.get("type") == "checkbox":
            if "checked" in given:
                self.values[name] = value
        elif tag == "input" and given.get("type") == "datetime-local":
            self.values[name] = as_browser_time(value)
        elif tag == "input":
            self.values[name] = value.replace("\r", "").replace("\n", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            text = self.values[self._area].removeprefix("\n").replace("\r\n", "\n")
            self.values[self._area] = text.replace("\r", "\n").replace("\n", "\r\n")
            self._area = ""
        elif tag == "select":
            self._select = ""
        elif tag == "p":
            self._in_error = False

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data
        elif self._in_error:
            self.errors[self._last] = self.errors.get(self._last, "") + data


def as_browser_time(text: str) -> str:
    """HTML's "sanitise" of a local date and time: the shortest form, or nothing when not valid."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,3})?)?", text)
    if not match:
        return ""
    day, minute, seconds = match.groups()
    return f"{day}T{minute}{'' if seconds in (None, ':00') else seconds}"


class Browser:
    """Somebody who is logged in to the dashboard."""

    def __init__(self, server: Server) -> None:
        self._session = requests.Session()
        self._base = f"{server.url}/_dashboard"
        answer = self._session.post(f"{self._base}/login", json={"password": PASSWORD}, timeout=10)
        assert answer.json()["user"] is True

    def close(self) -> None:
        self._session.close()

    def page(self, table: str, **query: Any) -> str:
        """A page of the database admin."""
        url = f"{self._base}/dbadmin/lab/db/{table}"
        answer = self._session.get(url, params=query, timeout=10)
        assert answer.ok, answer.text
        return answer.text

    def form(self, table: str, row_id: int | None = None) -> Form:
        """The form to make a row, or to edit one."""
        query = {"mode": "edit", "id": row_id} if row_id else {"mode": "new"}
        return Form(self.page(table, **query))

    def save(self, table: str, form: Form, row_id: int | None = None) -> dict[str, str]:
        """Press the button; the errors that the page then shows by field."""
        query = {"mode": "edit", "id": row_id} if row_id else {"mode": "new"}
        return self._post(table, query, form.values)

    def edit(self, table: str, row_id: int, **changes: str) -> dict[str, str]:
        """Open a row's form, change some fields and nothing else, and save."""
        form = self.form(table, row_id)
        form.values.update(changes)
        return self.save(table, form, row_id)

    def delete(self, table: str, row_id: int) -> None:
        """The delete button, and the confirmation."""
        query = {"mode": "delete", "id": row_id}
        self.page(table, **query)
        self._post(table, query, {})

    def _post(self, table: str, query: dict[str, Any], values: dict[str, str]) -> dict[str, str]:
        parts = {name: (None, value) for name, value in values.items()} or {"": (None, "")}
        url = f"{self._base}/dbadmin/lab/db/{table}"
        answer = self._session.post(url, params=query, files=parts, timeout=10)
        assert answer.ok, answer.text
        saved = bool(answer.history)  # the dashboard answers a saved form with a redirect
        errors = Form(answer.text).errors
        assert saved or errors, "neither saved nor an error shown"
        return errors
