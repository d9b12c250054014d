"""The parent's side of one run in the box: starts it, keeps the time, and takes out nothing but bounded, checked data.

The supervisor and the worker speak before any student code does, and the kernel stamps a pid on every message. So a time
limit kills the right process, and a message in the wrong place, or from the wrong process, is left aside and noted.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroup, command, seccomp
from .channel import ENDED, Channel, Closed
from .limits import MIB, Limits
from .outputs import clean_outputs, line

_GRACE = 2.0                            # seconds between an interrupt and the end of the box
_TICK = 0.2                             # seconds between looks at /proc where no control group counts for us
_HELLO = 5.0                            # seconds in which all snapshots say that they are there
_FLAGS = 60                             # raised in the box
_OUTPUTS = 32 * MIB                     # of one notebook
_KINDS = ("escape", "patched", "identity")  # of flags that the box may raise; the others are the parent's own


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


class Over(Closed):
    """A limit was passed. The text completes "it ..."."""


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
        self.supervisor = self.worker = None
        self.answering, self.heard, self.raised = {}, {}, 0
        self.channels = {i: Channel(self.limits.record_bytes) for i, c in enumerate(cells) if c.graded}
        self.control = Channel()
        with tempfile.TemporaryDirectory(prefix="mlsys-box-") as private:
            try:
                self._start(private, folder)
                self._begin(cells, student)
                try:
                    self._ordinary(cells)
                except Over as over:
                    self._cut(f"it {over}")
                self._graded(cells)
            except Closed as closed:
                self.outcome.ended = f"the box stopped answering: {closed}"
                if self._no_memory():
                    self.outcome.ended = "it ran out of memory"
            finally:
                if self._no_memory():
                    self._note("limit", f"it needed more than {self.limits.memory // MIB} MiB of memory")
                self._stop()
        for i in self.channels:
            if i not in self.outcome.records:
                self.outcome.notes.setdefault(i, self._otherwise("no record was produced"))
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
            command.limited(identity, self.group)
            filter = seccomp.descriptor()
            argv = command.argv([*program, f"/course/lib/mlsysbook/box/{self.program}", str(fds[0])], library=self.library,
                                submission=submission, limits=self.limits, identity=identity,
                                procs=self.group.procs if self.group else (), filter=filter)
            fds += [filter] if filter is not None else []
            cwd, env = "/", {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, pass_fds=fds, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log, start_new_session=True)
        if not self.unsafe and filter is not None:
            os.close(filter)
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
        self.running, self.busy, self.interrupted, self.shown = None, False, False, 0
        self.deadline = time.monotonic() + 30
        while True:
            got = self._wait(self.control, min(self.deadline, self.end))
            if got is None:
                if not self._interrupt():
                    return
                continue
            pid, message = got
            if self.supervisor is None:
                self.supervisor = pid
            elif pid == self.supervisor:
                if "exit" in message:
                    self._died(self.running)
                    return
            elif self.worker not in (None, pid):
                self._foreign(message, pid)
            else:
                self.worker = pid
                if self._progress(message, cells):
                    return

    def _interrupt(self):
        """A cell's time is up: ask the worker to stop, and the second time, or at the end of all time, end it. -> whether it was asked."""
        late = "the whole run" if time.monotonic() >= self.end else "the start" if self.running is None else f"cell {self.running + 1}"
        if self.interrupted or self.running is None or late == "the whole run":
            self._cut(f"{late} did not end in its time, and did not stop when asked")
            return False
        self._kill(self.worker, signal.SIGINT)
        self._note("limit", f"cell {self.running + 1} ran longer than {self.limits.cell_seconds:g} s")
        self.interrupted, self.deadline = True, time.monotonic() + _GRACE
        return True

    def _progress(self, message, cells):
        """A message from the worker, taken only where it is due. -> whether all ordinary cells have run."""
        n = message.get("start", message.get("done", message.get("nofork")))
        n = n if type(n) is int and 0 <= n < len(cells) else None
        last = -1 if self.running is None else self.running
        if "start" in message and not self.busy and n is not None and n > last and not cells[n].graded:
            self.running, self.busy, self.interrupted = n, True, False
            self.deadline = time.monotonic() + self.limits.cell_seconds
        elif "done" in message and self.busy and n == self.running:
            self.busy, self.deadline = False, time.monotonic() + self.limits.cell_seconds
            self._keep(n, message)
        elif "nofork" in message and not self.busy and n in self.channels:
            self.outcome.notes[n] = "it could not be started: too many processes"
            self._note("limit", self.outcome.notes[n])
        elif message.get("end") is True and not self.busy:
            if self.outcome.ended != "finished":        # it said that it could not go on, and did
                self.outcome.ended = "finished"
                self._foreign({})
            return True
        elif "broken" in message:
            self.outcome.ended = f"the notebook could not be run: {line(message['broken'])}"
        elif "spoilt" in message:
            self._note("patched", f"a cell sent {message['spoilt']} to the grader")
            raise Closed(f"it sent {message['spoilt']}")
        else:
            self._foreign(message)
        return False

    def _keep(self, n, message):
        """The outputs of cell n, within what one cell and one notebook may show."""
        lost, shown = message.get("lost"), clean_outputs(message.get("outputs"), self.limits.output_bytes)
        if type(lost) is int and lost > 100 * self.limits.output_bytes:
            self._note("limit", f"cell {n + 1} printed {lost // MIB} MiB")
        self.shown += len(str(shown))
        too_much = [{"stream": "stderr", "text": "[this notebook shows too much; not kept]"}]
        self.outcome.outputs[n] = shown if self.shown < _OUTPUTS else clean_outputs(too_much, 100)

    def _died(self, running):
        where = f"while cell {running + 1} ran" if running is not None else "before the first cell"
        why = "out of memory" if self._no_memory() else "it exited or crashed"
        self.outcome.ended = f"the process ended {where} ({why})"
        self._note("limit", self.outcome.ended)

    def _graded(self, cells):
        """Wake one snapshot after another. By then no process is left that has run an ordinary cell."""
        until = min(time.monotonic() + _HELLO, self.end)
        said = {i: self._hello(channel, until) for i, channel in self.channels.items()}
        self.answering = {i: pids[0] for i, pids in said.items() if len(pids) == 1 and pids[0] != self.worker}
        self._sweep(set(self.answering.values()))
        for i, channel in self.channels.items():
            if self.process.poll() is not None:
                return
            if i in self.answering:
                self._grade(i, channel, cells[i], self.answering[i])
            elif said[i]:
                self._impostor(i)
            else:
                self.outcome.notes.setdefault(i, self._otherwise("the check never started"))

    def _hello(self, channel, until):
        """The processes that would answer for a check: one, unless a cell has sent one of its own."""
        pids = []
        try:
            while (got := self._wait(channel, until if not pids else time.monotonic())) is not None:
                pid, message = got
                if "flag" in message:
                    self._flag(message)
                elif pid not in pids:
                    pids.append(pid)
        except Closed as closed:
            if str(closed) != ENDED:
                self._note("patched", f"a cell wrote to the grader's own lines: {closed}")
            return []
        return pids

    def _impostor(self, i):
        self.outcome.records.pop(i, None)
        self.outcome.notes[i] = "a process of the submission's own answered in the place of the check"
        self._note("patched", self.outcome.notes[i])

    def _grade(self, i, channel, cell, owner):
        deadline = min(time.monotonic() + self.limits.check_seconds, self.end)
        begun = time.monotonic()
        try:
            channel.send({"hidden": cell.hidden, "ordinal": cell.ordinal, "visible": cell.visible}, deadline)
            while i not in self.outcome.records:
                got = self._wait(channel, deadline)
                if got is None:
                    raise Over(f"did not end within {self.limits.check_seconds:g} s")
                pid, message = got
                if pid != owner and "hello" in message:
                    return self._impostor(i)
                if pid == owner and "record" in message:
                    self.outcome.records[i] = message["record"] if type(message["record"]) is dict else {}
                    self.outcome.records[i]["seconds"] = round(time.monotonic() - begun, 4)
                elif pid == owner and "spoilt" in message:
                    raise Closed(f"it sent {message['spoilt']}")
                else:
                    self._foreign(message, pid)
        except Over as over:
            self.outcome.notes[i] = str(over)
            self._note("limit", f"a check {over}")
            self._sweep(set(self.answering.values()) - {owner})
        except Closed as closed:
            self.outcome.notes.setdefault(i, "it ran out of memory" if self._no_memory() else
                                          self._otherwise(f"the process under it stopped: {closed}"))

    def _otherwise(self, note):
        return self.outcome.ended if self.outcome.ended != "finished" else note

    def _no_memory(self):
        return self.group is not None and self.group.memory_killed()

    def _wait(self, channel, deadline):
        """receive, with a look at memory and processes now and then where no control group limits them."""
        if self.group is not None or self.unsafe:
            return channel.receive(deadline)
        while True:
            got = channel.receive(min(deadline, time.monotonic() + _TICK))
            if got is not None or time.monotonic() >= deadline:
                return got
            used, count = usage(self.process.pid, self.limits.memory)
            if used > self.limits.memory or count > self.limits.processes + 4:
                what = f"{used // MIB} MiB of memory" if used > self.limits.memory else f"{count} processes"
                raise Over(f"used {what}, more than it may")

    def _note(self, kind, note):
        entry = {"kind": kind, "note": note}
        if entry not in self.outcome.flags:
            self.outcome.flags.append(entry)

    def _flag(self, message):
        kind = message["flag"] if message["flag"] in _KINDS else "patched"
        self.raised += 1
        if self.raised <= _FLAGS:
            self._note(kind, line(message.get("note")) or "a flag without a note")

    def _foreign(self, message, pid=None):
        """A message that is not due, or not this process's to send. Any process may raise a flag; one that raises hundreds ends."""
        self.heard[pid] = self.heard.get(pid, 0) + 1
        if pid != self.worker and self.heard[pid] == 5 * _FLAGS:
            self._kill(pid, signal.SIGKILL)
        if "flag" in message:
            self._flag(message)
        else:
            self._note("patched", "a cell of the submission wrote to the grader's own lines")

    def _cut(self, why):
        self.outcome.ended = why
        self._note("limit", why)
        if self.worker:
            self._kill(self.worker, signal.SIGKILL)
            until = time.monotonic() + _GRACE
            with contextlib.suppress(Closed):
                while time.monotonic() < until and (got := self.control.receive(until)) is not None:
                    if got[0] == self.supervisor and "exit" in got[1]:
                        return
                    if "flag" in got[1]:
                        self._flag(got[1])

    def _kill(self, pid, sig):
        if pid and pid > 1 and _below(pid, self.process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, sig)

    def _inside(self):
        """Processes of the box."""
        return self.group.members() if self.group is not None else sorted(_descendants(self.process.pid)[0])

    def _sweep(self, keep):
        """Kill every process of the box but the supervisor, what holds the box up, and `keep`."""
        if self.supervisor is None or self.unsafe and self.supervisor != self.process.pid:
            return
        keep = keep | _ancestors(self.supervisor)
        for _ in range(5):                  # a process may fork while it is looked for
            strays = [p for p in self._inside() if p not in keep]
            if not strays:
                return
            for pid in strays:
                self._kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _stop(self):
        if self.process is not None:
            if self.process.poll() is None:             # once it has been waited for, its number may be another's
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            if self.outcome.ended.startswith("the box stopped answering") and not self.outcome.outputs:
                self.log.seek(0)
                said = self.log.read(2000).decode("utf-8", "replace").strip().splitlines()
                if said:
                    self.outcome.ended += f" ({line(said[-1])})"
            self.log.close()
        for channel in (self.control, *self.channels.values()):
            channel.close()
        if self.group is not None:
            self.group.remove()


def _needs_ipython(cells):
    return any("get_ipython" in c.source or any(t.lstrip()[:1] in ("%", "!") for t in c.source.splitlines()) for c in cells if not c.graded)


def _parent(pid):
    """Parent of a process, 0 where there is none to be seen."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _ancestors(pid):
    """A process and those that it descends from."""
    found = set()
    while pid > 1 and pid not in found and len(found) < 64:
        found.add(pid)
        pid = _parent(pid)
    return found


def _below(pid, ancestor):
    """Is `pid` a descendant of `ancestor`? A message's pid is the kernel's, but it may be a reused one by now."""
    return ancestor in _ancestors(pid)


def _descendants(root):
    """A process and all below it, and the resident bytes of every process -> (set of pid, dict)."""
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
    inside = {root}
    for _ in range(64):
        more = {p for p, q in parent.items() if q in inside} - inside
        if not more:
            break
        inside |= more
    return inside, rss


def usage(root, most):
    """Bytes of memory and number of the processes below `root`, from /proc.

    Snapshots share most of their pages, so a sum of resident sizes above `most` is taken again with each page counted once.
    """
    inside, rss = _descendants(root)
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
