"""Orders and reports, in packed form, and the mailbox in which orders wait for a runner.

An order is one packet, with a file beside it if it is large. Each order that a runner has not begun
can thus be taken back without asking the runner, which may be busy for a long time. The module does
not know what happens to a run.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from plugin_scheduler.core.types import OUTCOMES, Order
from plugin_scheduler.execution.framing import (
    CLOSED_IN_CHILDREN,
    Closed,
    attached,
    files_of,
    strict_json,
)
from plugin_scheduler.system.private_files import PrivateFile, complete_file, read_file

PACKET = 1 << 15  # maximum bytes of an order in a packet; a larger order is sent in a file
ROOM = 1 << 20  # bytes that a mailbox should hold; the system may allow less
_NOW = socket.MSG_DONTWAIT
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)


_ORDER = struct.Struct("!qq?4i")
_REPORT = struct.Struct("!qBBddI")
_MARKED, _RETIRES, _HAS_RESULT, _IN_FILE = 1, 2, 4, 8
_ALL_FLAGS = _MARKED | _RETIRES | _HAS_RESULT | _IN_FILE
_ONE_FILE = socket.CMSG_SPACE(struct.calcsize("i"))


class PackedOrder(NamedTuple):
    """An order as a runner needs it."""

    run_id: int
    task_id: int
    uuid: str
    function: str
    args: str | None
    vars: str | None
    is_large: bool = False  #: True if the arguments are in a file that came with the packet
    file: PrivateFile | None = None


def pack_order(order: PackedOrder) -> bytes:
    """Pack an order into one packet. The arguments are JSON already, so the packet is not.

    >>> order = PackedOrder(7, 3, "u-u-i-d", "add", '["ä", 1]', None)
    >>> unpack_order(pack_order(order)) == order
    True
    """
    texts = [None if text is None else text.encode() for text in order[2:6]]
    lengths = (-1 if text is None else len(text) for text in texts)
    head = _ORDER.pack(order.run_id, order.task_id, order.is_large, *lengths)
    return head + b"".join(text for text in texts if text)


def unpack_order(packet: bytes) -> PackedOrder:
    run_id, task_id, is_large, *lengths = _ORDER.unpack_from(packet)
    texts: list[Any] = []
    at = _ORDER.size
    for length in lengths:
        texts.append(None if length < 0 else packet[at : at + length].decode())
        at += max(0, length)
    uuid, function, args, vars = texts
    return PackedOrder(run_id, task_id, uuid, function, args, vars, is_large)


def packed(order: Order) -> tuple[bytes, PrivateFile | None]:
    """Return an order's packet, and a file if the order is large. Raise OSError if no file can be
    made."""
    task = order.task
    sent = PackedOrder(order.run_id, task.id, task.uuid, task.function_name, task.args, task.vars)
    packet = pack_order(sent)
    if len(packet) <= PACKET:
        return packet, None
    short = pack_order(sent._replace(args=None, vars=None, is_large=True))
    return short, complete_file("order", packet)


class NoRoom(OSError):
    """A runner could not receive or read an order's file: earlier tasks left too many files open,
    or too little memory."""


def whole(order: PackedOrder) -> PackedOrder:
    """Return the order with its arguments, read from its file if there is one."""
    if not order.is_large:
        return order
    if order.file is None:
        raise NoRoom(errno.EMFILE, "too many open files")
    try:
        packet = read_file(order.file.fileno())
    except MemoryError as error:
        raise NoRoom(errno.ENOMEM, "no memory for the arguments") from error
    finally:
        order.file.close()
    return unpack_order(packet)


class PackedReport(NamedTuple):
    """A report as it comes from a runner.

    ``outcome`` is an index into `OUTCOMES`, ``began`` a monotonic time, ``result`` JSON text.
    ``marked``: the run printed output, and a mark follows it. ``retires``: the runner takes no more
    orders. ``in_file``: the result is in a file that came with the report.
    """

    run_id: int
    outcome: int
    began: float
    seconds: float
    marked: bool
    retires: bool
    result: str | None
    rest: Mapping[str, Any]
    in_file: bool = False


def pack_report(told: PackedReport) -> bytes:
    """Pack a report into the body of a frame. User code may write to the descriptor, so the format
    is one that is safe to read.

    >>> report = PackedReport(7, 0, 1.5, 0.25, True, False, "[1]", {})
    >>> unpack_report(pack_report(report)) == report
    True
    """
    flags = _MARKED * told.marked | _RETIRES * told.retires
    flags |= _HAS_RESULT * (told.result is not None) | _IN_FILE * told.in_file
    result = (told.result or "").encode()
    head = _REPORT.pack(told.run_id, told.outcome, flags, told.began, told.seconds, len(result))
    return head + result + (json.dumps(told.rest).encode() if told.rest else b"")


def unpack_report(body: bytes) -> PackedReport:
    """Unpack a report; raise ValueError if the body is not a report."""
    try:
        run_id, outcome, flags, began, seconds, length = _REPORT.unpack_from(body)
    except struct.error as error:
        raise ValueError(str(error)) from error
    end = _REPORT.size + length
    if len(body) < end or outcome >= len(OUTCOMES) or flags > _ALL_FLAGS:
        raise ValueError("not a report")
    result = body[_REPORT.size : end].decode() if flags & _HAS_RESULT else None
    rest = strict_json(body[end:]) if len(body) > end else {}
    marked, retires, in_file = flags & _MARKED, flags & _RETIRES, flags & _IN_FILE
    kinds = bool(marked), bool(retires), result, rest, bool(in_file)
    return PackedReport(run_id, outcome, began, seconds, *kinds)


class Mailbox:
    """The worker's side: sends orders, and takes back those that the runner has not begun."""

    def __init__(self) -> None:
        self._ours, self.end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.end.shutdown(socket.SHUT_WR)  # tasks can write to descriptors they do not own

    def send(self, packet: bytes, file: PrivateFile | None = None) -> bool:
        """Send a packet. Return False if the mailbox is full; raise Closed if it has no reader."""
        try:
            if file is None:
                self._ours.send(packet, _NOW)
            else:
                self._ours.sendmsg([packet], attached(file), _NOW)
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise Closed from error
        return True

    def take_back(self) -> list[bytes]:
        """Return all waiting packets, oldest first."""
        packets = []
        try:
            while packet := self.end.recv(PACKET, _NOW):
                packets.append(packet)
        except OSError:
            pass
        return packets

    def hang_up(self) -> None:
        """Close the sending side: no more orders will come."""
        self._ours.close()

    def close(self) -> None:
        self._ours.close()
        self.end.close()


class MailboxEnd:
    """The runner's side."""

    def __init__(self, file: int, patience: float) -> None:
        self._end = socket.socket(fileno=file)
        self._end.setblocking(True)
        timeout = struct.pack("ll", int(patience), int(patience % 1 * 1e6))
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)

    def receive(self) -> PackedOrder | None:
        """Return the next order, or None after the timeout. Raise Closed when no more orders will
        come."""
        try:
            packet, attachments, _, _ = self._end.recvmsg(PACKET, _ONE_FILE, CLOSED_IN_CHILDREN)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error
        if not packet:
            raise Closed
        order = unpack_order(packet)
        if not attachments:
            return order
        [file] = files_of(attachments)
        return order._replace(file=file)

    def abandon(self) -> None:
        """Close this process's copy."""
        self._end.close()
