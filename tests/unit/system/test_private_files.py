"""Files that no other user can name, replace or block."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest
from support.makers import an_order

from plugin_scheduler.execution.framing import BlockingChannel, Channel, pack_bytes
from plugin_scheduler.execution.mailbox import Mailbox, MailboxEnd, packed, whole
from plugin_scheduler.execution.scoreboard import PAGE, Scoreboard, blank_page
from plugin_scheduler.system.private_files import (
    PrivateFile,
    complete_file,
    is_private,
    private_folder,
    read_file,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sealed files")


def test_a_file_holds_what_was_written_and_has_no_name() -> None:
    with contextlib.closing(complete_file("test", b"x" * 100_000)) as file:
        assert read_file(file.fileno()) == read_file(file.fileno()) == b"x" * 100_000
        assert is_private(file.fileno())
    with pytest.raises(ValueError):
        file.fileno()


@linux
def test_a_complete_file_cannot_be_changed() -> None:
    with contextlib.closing(complete_file("test", b"kept")) as file:
        for change in (lambda fd: os.pwrite(fd, b"x", 0), lambda fd: os.ftruncate(fd, 0)):
            with pytest.raises(PermissionError):
                change(file.fileno())


def test_what_could_block_a_reader_or_has_a_name_is_not_private(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("named")
    one, other = socket.socketpair()
    with one, other:
        assert not is_private(one.fileno())
    for name in ("fifo", "file", "."):
        with contextlib.closing(PrivateFile(os.open(tmp_path / name, os.O_NONBLOCK))) as file:
            assert not is_private(file.fileno())


@linux
def test_a_task_that_writes_to_its_board_or_cuts_it_off_is_refused() -> None:
    page = blank_page()
    pool, runner = Scoreboard(page), Scoreboard(page)
    runner.keep_others_out(page)
    for change in (
        lambda: os.pwrite(page, b"x" * 100, 0),
        lambda: os.ftruncate(page, 0),
        lambda: os.ftruncate(page, 2 * PAGE),
    ):
        with pytest.raises(PermissionError):
            change()
    runner.begin(81, 12.5)
    assert (pool.run_id, pool.began) == (81, 12.5)
    pool.close()
    runner.close()
    os.close(page)


@linux
def test_a_private_folder_stays_itself_where_another_is_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with private_folder() as folder:
        [place] = tmp_path.iterdir()
        place.rename(tmp_path / "taken")
        place.mkdir()
        (Path(folder) / "file").write_text("ours")
        assert list(place.iterdir()) == []
        assert (tmp_path / "taken" / "file").read_text() == "ours"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_runtime_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mode, owner in ((0o700, 65534), (0o777, os.geteuid())):
        tmp_path.chmod(mode)
        os.chown(tmp_path, owner, -1)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        with private_folder():
            assert list(tmp_path.iterdir()) == []


def test_a_file_travels_with_its_report() -> None:
    one, other = socket.socketpair()
    with one, other:
        channel, runner = Channel(one), BlockingChannel(other)
        file = complete_file("test", b"result")
        runner.send_frame(pack_bytes(b"first"), file)
        file.close()
        runner.send_frame(pack_bytes(b"second"))
        assert channel.read() == [b"first", b"second"]
        came = channel.take_file()
        assert came is not None and read_file(came.fileno()) == b"result"
        assert not os.get_inheritable(came.fileno())
        assert channel.take_file() is None


def test_a_large_order_goes_through_a_lane_beside_its_packet() -> None:
    lane = Mailbox()
    end = MailboxEnd(os.dup(lane.end.fileno()), 0.05)
    for size in (10, 1_000_000):
        order = an_order(args=f'["{"x" * size}"]')
        assert lane.send(*packed(order))
        sent = end.receive()
        assert sent is not None and sent.is_large == (size > 10)
        assert whole(sent).args == order.task.args
    assert lane.send(*packed(an_order(args="x" * 1_000_000)))
    assert len(lane.take_back()) == 1
    lane.close()
    end.abandon()
