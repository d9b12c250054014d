"""One line between the parent and the box: bounded messages, each with the sender's pid as the kernel stamped it.

Every process inside may hold the other end. So what each sends is put together apart, one that sends rubbish spoils only
its own messages, and the parent decides whose word it takes.
"""

import collections
import contextlib
import json
import select
import socket
import struct
import time

from .limits import MIB

MESSAGE = 8 * MIB
MESSAGES, SENDERS = 20_000, 64          # of one line, in all: a notebook of 2,000 cells sends a quarter of that
VALUES = 500_000                        # JSON values in one message; an empty list of 3 bytes takes 64 in memory
TOTAL = 256 * MIB
ENDED = "it ended"
_CRED = struct.calcsize("3i")


class Closed(Exception):
    """The other end has gone, or sends more than anybody needs."""


class Channel:
    """The parent's end of one socket pair."""

    def __init__(self, limit=MESSAGE):
        self.mine, self.theirs = socket.socketpair()
        self.mine.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.limit, self.parts, self.spoilt = limit, {}, set()
        self.ready, self.left, self.bytes = collections.deque(), MESSAGES, TOTAL

    def started(self):
        """The box has its end; give up ours of it."""
        self.theirs.close()

    def close(self):
        self.mine.close()
        with contextlib.suppress(OSError):
            self.theirs.close()

    def send(self, message, deadline):
        data = json.dumps(message).encode()
        self.mine.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            self.mine.sendall(struct.pack("<I", len(data)) + data)
        except OSError as error:
            raise Closed(str(error)) from None
        finally:
            self.mine.settimeout(None)

    def receive(self, deadline):
        """The next (pid, message), or None when the deadline passes first. A sender of rubbish gives {"spoilt": why}, once.

        Raises Closed.
        """
        while not self.ready:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.mine], [], [], left)[0]:
                return None
            self._read()
        self.left -= 1
        if self.left < 0:
            raise Closed(f"it sent more than {MESSAGES} messages")
        return self.ready.popleft()

    def _read(self):
        try:
            data, ancillary, _, _ = self.mine.recvmsg(1 << 18, socket.CMSG_SPACE(_CRED))
        except OSError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed(ENDED)
        self.bytes -= len(data)
        if self.bytes < 0:
            raise Closed(f"it sent more than {TOTAL // MIB} MiB")
        pid = next((struct.unpack("3i", body[:_CRED])[0] for level, kind, body in ancillary
                    if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS), 0)
        if pid in self.spoilt or pid not in self.parts and len(self.parts) >= SENDERS:
            return
        part = self.parts.setdefault(pid, bytearray())
        part += data
        try:
            while (message := self._take(part)) is not None:
                self.ready.append((pid, message))
        except ValueError as error:
            self.spoilt.add(pid)
            part.clear()
            self.ready.append((pid, {"spoilt": str(error)}))

    def _take(self, part):
        """Cut one message off the front of what a sender sent, if it is all there. Raises ValueError for what is none."""
        if len(part) < 4:
            return None
        n = struct.unpack("<I", part[:4])[0]
        if n > self.limit:
            raise ValueError(f"a message of more than {self.limit // MIB} MiB")
        if len(part) < 4 + n:
            return None
        body = bytes(part[4:4 + n])
        del part[:4 + n]
        if sum(map(body.count, (b",", b"[", b"{"))) > VALUES:
            raise ValueError(f"a message of more than {VALUES} values")
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("what is not a message") from None
        if type(message) is not dict:
            raise ValueError("what is not a message")
        return message
