"""The parent's side of one run in the box: starts it, keeps the time, and takes out nothing but bounded, checked data.

The pid that a message comes from is stamped by the kernel (SCM_CREDENTIALS), so a time limit kills the right process even
if the code inside ignores signals, forges messages or hides.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroup, command
from .limits import MIB, Limits

_CRED = struct.calcsize("3i")
_GRACE = 2.0                            # seconds between an interrupt and the end of the box
_TICK = 0.2                             # seconds between looks at /proc where no control group counts for us
_MESSAGE = 8 * MIB


@dataclass
class CellSource:
    """One code cell to run. A graded one has the encoded hidden cases and the order in which all cases are called.

    visible: run it as the student sees it instead, and take what it says.
    """

    source: str
    graded: bool = False
    hidden: list = field(default_factory=list)
    ordinal: list = field(default_factory=list)
    visible: bool = False


@dataclass
class Outcome:
    """What came out of the box. outputs and records by cell index; notes say why a record is missing."""

    outputs: dict = field(default_factory=dict)
    records: dict = field(default_factory=dict)
    notes: dict = field(default_factory=dict)
    flags: list = field(default_factory=list)
    ended: str = "finished"             # or a sentence: how the run was cut short
    seconds: float = 0.0


class Closed(Exception):
    """The other end has gone, or sent what is not a message."""


class Channel:
    """The parent's end of one socket pair: bounded messages, each with the sender's pid."""

    def __init__(self, limit=_MESSAGE):
        self.mine, self.theirs = socket.socketpair()
        self.mine.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.buffer, self.limit, self.pid = bytearray(), limit, None

    def fileno(self):
        return self.mine.fileno()

    def started(self):
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
        """The next message, or None when the deadline passes first. Raises Closed."""
        while True:
            message = self._take()
            if message is not None:
                return message
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.mine], [], [], left)[0]:
                return None
            self._read()

    def _read(self):
        try:
            data, ancillary, _, _ = self.mine.recvmsg(1 << 18, socket.CMSG_SPACE(_CRED))
        except OSError as error:
            raise Closed(str(error)) from None
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                self.pid = struct.unpack("3i", body[:_CRED])[0]
        if not data:
            raise Closed("it ended")
        self.buffer += data

    def _take(self):
        if len(self.buffer) < 4:
            return None
        n = struct.unpack("<I", self.buffer[:4])[0]
        if n > self.limit:
            raise Closed(f"it sent more than {self.limit // MIB} MiB")
        if len(self.buffer) < 4 + n:
            return None
        body = bytes(self.buffer[4:4 + n])
        del self.buffer[:4 + n]
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise Closed("it sent what is not a message") from None
        if type(message) is not dict:
            raise Closed("it sent what is not a message")
        return message


class Session:
    """One submission in one box: `Session(...).run(cells, folder, student)`."""

    program = "runner.py"               # what runs inside, beside this file

    def __init__(self, library, limits=None, *, unsafe=False):
        self.library, self.limits, self.unsafe = Path(library), limits or Limits(), unsafe
        self.process = self.group = None

    def run(self, cells, folder, student):
        """Run code cells (list of CellSource) beside the files of `folder` -> Outcome. Never raises for what they do."""
        start = time.monotonic()
        self.outcome = Outcome()
        self.end = start + self.limits.total_seconds
        self.channels = {i: Channel(self.limits.record_bytes) for i, c in enumerate(cells) if c.graded}
        self.control = Channel()
        with tempfile.TemporaryDirectory(prefix="mlsys-box-") as private:
            try:
                self._start(private, folder)
                self._begin(cells, student)
                self._ordinary(cells)
                self._graded(cells)
            except Closed as closed:
                self.outcome.ended = f"the box stopped answering: {closed}"
            finally:
                self._stop()
        for i in self.channels:
            if i not in self.outcome.records:
                self.outcome.notes.setdefault(i, self.outcome.ended if self.outcome.ended != "finished" else "no record was produced")
        self.outcome.seconds = time.monotonic() - start
        return self.outcome

    def _start(self, private, folder):
        identity = command.Identity(None) if self.unsafe else command.probe()
        submission = Path(private) / "submission"
        shutil.copytree(folder, submission, symlinks=True)
        if identity.uid is not None:
            for path in (Path(private), submission, *submission.rglob("*")):
                os.chown(path, identity.uid, identity.uid, follow_symlinks=False)
        fds = [self.control.theirs.fileno(), *(c.theirs.fileno() for c in self.channels.values())]
        program = [command.interpreter(), "-S", "-s", "-B"]
        if self.unsafe:
            program += [str(self.library / "mlsysbook" / "box" / self.program), str(fds[0])]
            argv, cwd = program, submission
            env = command.environment(self.library) | {"PYTHONPATH": ":".join([str(self.library), *map(str, command.site_packages())])}
        else:
            self.group = cgroup.create(self.limits)
            argv = command.argv([*program, f"/course/lib/mlsysbook/box/{self.program}", str(fds[0])], library=self.library, submission=submission,
                                limits=self.limits, identity=identity, procs=self.group.procs if self.group else ())
            cwd, env = "/", {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, pass_fds=fds, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log, start_new_session=True)
        for channel in (self.control, *self.channels.values()):
            channel.fd = channel.theirs.fileno()
            channel.started()

    def _begin(self, cells, student):
        text = "\n".join(c.source for c in cells)
        lim = self.limits
        self.control.send({
            "cells": [{"source": c.source, "fd": self.channels[i].fd if c.graded else None} for i, c in enumerate(cells)],
            "copy": not self.unsafe, "student": student, "output_bytes": lim.output_bytes, "cell_seconds": lim.cell_seconds,
            "address_space": lim.memory + 1024 * MIB, "cpu_seconds": lim.cpu_seconds, "processes": lim.processes,
            "open_files": lim.open_files, "file_bytes": lim.file_bytes,
            "ipython": _needs_ipython(cells), "preload": ["numpy"] if "numpy" in text or "tinytorch" in text else [],
        }, time.monotonic() + 10)

    def _ordinary(self, cells):
        """Follow the worker through the ordinary cells until it ends, dies, or its time is up."""
        running, deadline, interrupted = None, time.monotonic() + 30, False
        while True:
            message = self._wait(self.control, min(deadline, self.end))
            if message is None:
                late = "the whole run" if time.monotonic() >= self.end else f"cell {running + 1}" if running is not None else "the start"
                if interrupted or running is None or late == "the whole run":
                    self._cut(f"{late} did not end in its time, and did not stop when asked")
                    return
                self._kill(self.control.pid, signal.SIGINT)
                self.outcome.flags.append({"kind": "limit", "note": f"cell {running + 1} ran longer than {self.limits.cell_seconds:g} s"})
                interrupted, deadline = True, time.monotonic() + _GRACE
            elif message.get("start") in range(len(cells)):
                running, interrupted = message["start"], False
                deadline = time.monotonic() + self.limits.cell_seconds
            elif message.get("done") in range(len(cells)):
                self.outcome.outputs[message["done"]] = clean_outputs(message.get("outputs"), self.limits.output_bytes)
                deadline = time.monotonic() + self.limits.cell_seconds
            elif "nofork" in message and message["nofork"] in self.channels:
                self.outcome.notes[message["nofork"]] = "it could not be started: too many processes"
            elif message.get("end") is True:
                return
            elif "exit" in message:
                self._died(running)
                return
            elif "broken" in message:
                self.outcome.ended = f"the notebook could not be run: {_line(message['broken'])}"
            else:
                self._flag(message)

    def _died(self, running):
        where = f"while cell {running + 1} ran" if running is not None else "before the first cell"
        why = "out of memory" if self.group and self.group.memory_killed() else "it exited or crashed"
        self.outcome.ended = f"the process ended {where} ({why})"
        self.outcome.flags.append({"kind": "limit", "note": self.outcome.ended})

    def _graded(self, cells):
        for i, channel in self.channels.items():
            if self.process.poll() is not None:
                return
            self._grade(i, channel, cells[i])

    def _grade(self, i, channel, cell):
        deadline = min(time.monotonic() + self.limits.check_seconds, self.end)
        begun = time.monotonic()
        try:
            hello = self._wait(channel, min(deadline, time.monotonic() + 5))
            while hello is not None and "hello" not in hello:
                hello = self._wait(channel, deadline)
            if hello is None:
                self.outcome.notes.setdefault(i, self.outcome.ended if self.outcome.ended != "finished" else "the check never started")
                return
            pid = channel.pid
            channel.send({"hidden": cell.hidden, "ordinal": cell.ordinal, "visible": cell.visible}, deadline)
            while True:
                message = self._wait(channel, deadline)
                if message is None:
                    self._kill(pid, signal.SIGKILL)
                    self.outcome.notes[i] = f"did not end within {self.limits.check_seconds:g} s"
                    self.outcome.flags.append({"kind": "limit", "note": f"a check ran longer than {self.limits.check_seconds:g} s"})
                    return
                if "record" in message:
                    self.outcome.records[i] = message["record"] if type(message["record"]) is dict else {}
                    self.outcome.records[i]["seconds"] = round(time.monotonic() - begun, 4)
                    return
                self._flag(message)
        except Closed as closed:
            memory = self.group is not None and self.group.memory_killed()
            self.outcome.notes.setdefault(i, "it ran out of memory" if memory else
                                          self.outcome.ended if self.outcome.ended != "finished" else f"the process under it stopped: {closed}")

    def _wait(self, channel, deadline):
        """receive, with a look at memory and processes now and then where no control group limits them."""
        if self.group is not None or self.unsafe:
            return channel.receive(deadline)
        while True:
            message = channel.receive(min(deadline, time.monotonic() + _TICK))
            if message is not None or time.monotonic() >= deadline:
                return message
            used, count = usage(self.process.pid, self.limits.memory)
            if used > self.limits.memory or count > self.limits.processes + 4:
                what = f"{used // MIB} MiB of memory" if used > self.limits.memory else f"{count} processes"
                self._cut(f"it used {what}, more than it may")
                raise Closed(self.outcome.ended)

    def _flag(self, message):
        if "flag" in message and len(self.outcome.flags) < 100:
            entry = {"kind": _line(message["flag"])[:20], "note": _line(message.get("note", ""))}
            if entry not in self.outcome.flags:
                self.outcome.flags.append(entry)

    def _cut(self, why):
        self.outcome.ended = why
        self.outcome.flags.append({"kind": "limit", "note": why})
        if self.control.pid:
            self._kill(self.control.pid, signal.SIGKILL)
            with contextlib.suppress(Closed):
                while (m := self.control.receive(time.monotonic() + _GRACE)) is not None and "exit" not in m:
                    self._flag(m)

    def _kill(self, pid, sig):
        if pid and pid > 1 and _below(pid, self.process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, sig)

    def _stop(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            if self.outcome.ended.startswith("the box stopped answering") and not self.outcome.outputs:
                self.log.seek(0)
                said = self.log.read(2000).decode("utf-8", "replace").strip().splitlines()
                if said:
                    self.outcome.ended += f" ({_line(said[-1])})"
            self.log.close()
        for channel in (self.control, *self.channels.values()):
            channel.close()
        if self.group is not None:
            for _ in range(50):
                self.group.remove()
                if not any(f.exists() for f in self.group.folders):
                    break
                time.sleep(0.02)


def _needs_ipython(cells):
    return any("get_ipython" in c.source or any(t.lstrip()[:1] in ("%", "!") for t in c.source.splitlines()) for c in cells if not c.graded)


def _below(pid, ancestor):
    """Is `pid` a descendant of `ancestor`? A message's pid is the kernel's, but it may be a reused one by now."""
    for _ in range(64):
        if pid == ancestor:
            return True
        try:
            with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
                pid = int(f.read().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            return False
        if pid <= 1:
            return False
    return False


def usage(root, most):
    """Bytes of memory and number of the processes below `root`, from /proc.

    Snapshots share most of their pages, so a sum of resident sizes above `most` is taken again with each page counted once.
    """
    parent, rss = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="latin-1") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parent[int(name)], rss[int(name)] = int(fields[1]), int(fields[21]) * page
    inside, total = {root}, 0
    for _ in range(64):
        more = {p for p, q in parent.items() if q in inside} - inside
        if not more:
            break
        inside |= more
    total = sum(rss.get(p, 0) for p in inside)
    if total > most:
        total = sum(_proportional(p, rss.get(p, 0)) for p in inside)
    return total, len(inside)


def _proportional(pid, resident):
    """Resident bytes of a process, a page of n processes counted as 1/n. `resident` where /proc does not say."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="latin-1") as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:")), resident)
    except OSError:
        return resident


def _line(text):
    """Untrusted text as one printable line."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:300]


def plain(text, limit):
    """Untrusted text without control characters or terminal escapes; new lines and tabs stay."""
    text = str(text)[:limit]
    return "".join(c for c in text if c in "\n\t" or (c.isprintable() or c.isspace()) and c not in "\x0b\x0c\r\x85\u2028\u2029")


def clean_outputs(outputs, limit):
    """Outputs as the worker sent them -> nbformat output dicts that hold only text and PNG, whatever was sent."""
    import base64
    import binascii

    shown = []
    for o in outputs if type(outputs) is list else []:
        if type(o) is not dict or len(shown) >= 20:
            continue
        if o.get("stream") in ("stdout", "stderr"):
            shown.append({"output_type": "stream", "name": o["stream"], "text": plain(o.get("text", ""), limit + 100)})
        elif "result" in o:
            shown.append({"output_type": "display_data", "data": {"text/plain": plain(o["result"], limit)}, "metadata": {}})
        elif "png" in o:
            try:
                raw = base64.b64decode(str(o["png"]), validate=True)
            except (binascii.Error, ValueError):
                continue
            if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) < 400_000:
                shown.append({"output_type": "display_data", "data": {"image/png": base64.b64encode(raw).decode(), "text/plain": "figure"}, "metadata": {}})
        elif type(o.get("error")) is dict:
            e = o["error"]
            shown.append({"output_type": "error", "ename": plain(e.get("name", ""), 80), "evalue": plain(e.get("value", ""), 2000),
                          "traceback": plain(e.get("trace", ""), 8000).split("\n")})
    return shown
