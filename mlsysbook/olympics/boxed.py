"""The parent's side of one entry in the box: starts it, asks, keeps the time, stops it while another is measured."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from ..box import cgroup, command, seccomp
from ..box.channel import Channel, Closed
from ..box.limits import MIB, Limits
from ..box.outputs import line
from ..box.session import _descendants, usage
from .inside import HEAD

LIMITS = Limits(cpu_seconds=120, memory=1024 * MIB, processes=16, disk_bytes=64 * MIB)
_FLAGS = 20
_TICK = 0.2                             # seconds between looks at /proc where no control group counts for us
_TICKS = os.sysconf("SC_CLK_TCK")


class Fault(Exception):
    """An entry is disqualified: kind is one of measure.KINDS, the text says what happened."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Box:
    """A process that serves one entry. `folder` holds what package.stage wrote."""

    def __init__(self, library, folder, job, limits=LIMITS):
        self.library, self.folder, self.job, self.limits = Path(library), Path(folder), job, limits
        self.flags = []
        self.process = self.group = self.private = self.log = self.control = self.data = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        self.control, (self.data, theirs) = Channel(), socket.socketpair()
        for end in (self.data, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
        identity = command.probe()
        self.private = tempfile.mkdtemp(prefix="mlsys-olympics-")
        os.chmod(self.private, 0o755)
        place = Path(self.private) / "entry"
        shutil.copytree(self.folder, place)
        if identity.uid is not None:
            for path in (place, *place.rglob("*")):
                os.chown(path, identity.uid, identity.uid)
        fds = [self.control.theirs.fileno(), theirs.fileno()]
        self.group, filter = cgroup.create(self.limits), seccomp.descriptor()
        program = [command.interpreter(), "-S", "-s", "-B", "/course/lib/mlsysbook/olympics/inside.py", *map(str, fds)]
        argv = command.argv(program, library=self.library, submission=place, limits=self.limits, identity=identity,
                            procs=self.group.procs if self.group else (), filter=filter)
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, pass_fds=[*fds, *([filter] if filter is not None else [])], cwd="/",
                                        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.log, start_new_session=True)
        if filter is not None:
            os.close(filter)
        theirs.close()
        self.control.started()
        lim = self.limits
        self.control.send(self.job | {"address_space": lim.memory + 1024 * MIB, "cpu_seconds": lim.cpu_seconds, "processes": lim.processes,
                                      "open_files": lim.open_files, "file_bytes": lim.file_bytes}, time.monotonic() + 10)

    def ask(self, kind, payload=b"", *, most, seconds):
        """Send a request -> (bytes of the answer, seconds from the first byte sent to the last one back).

        Raises Fault: it failed, did not answer in its time, or answered more than `most` bytes.
        """
        deadline = time.monotonic() + seconds
        message = HEAD.pack(kind, len(payload)) + payload
        self.data.settimeout(seconds)
        begun = time.perf_counter()
        try:
            self.data.sendall(message)
            sign, n = HEAD.unpack(self._read(HEAD.size, deadline))
            if n > max(most, 500):
                raise Fault("shape", f"it answered {n:,} bytes where {most:,} were asked for")
            answer = self._read(n, deadline)
        except TimeoutError:
            raise Fault("time", f"it did not answer within {seconds:g} s") from None
        except OSError as error:
            raise self._gone(str(error)) from None
        took = time.perf_counter() - begun
        if sign != b"+":
            raise Fault("crash", line(bytes(answer).decode("utf-8", "replace")) or "it failed without a word")
        return bytes(answer), took

    def _read(self, n, deadline):
        data, at = bytearray(n), 0
        view = memoryview(data)
        while at < n:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not select.select([self.data], [], [], min(left, _TICK))[0]:
                self._within()
                continue
            got = self.data.recv_into(view[at:])
            if not got:
                raise self._gone("it ended")
            at += got
        return data

    def _within(self):
        """Look at memory and processes where no control group limits them. Raises Fault."""
        if self.group is None:
            used, count = usage(self.process.pid, self.limits.memory)
            if used > self.limits.memory or count > self.limits.processes + 4:
                raise Fault("memory", f"it used {used // MIB} MiB of memory in {count} processes, more than it may")

    def _gone(self, why):
        if self.group is not None and self.group.memory_killed():
            return Fault("memory", f"it needed more than {self.limits.memory // MIB} MiB of memory")
        self.log.seek(0)
        said = self.log.read(2000).decode("utf-8", "replace").strip().splitlines()
        return Fault("crash", f"its process ended ({line(said[-1]) if said else why})")

    def heard(self):
        """Flags that were raised inside since the start, and what of the server the entry has replaced -> list of [kind, note]."""
        names, _ = self.ask(b"P", most=2000, seconds=5)
        for name in names.decode("utf-8", "replace").splitlines():
            self._flag("patched", f"replaced {line(name)}")
        with contextlib.suppress(Closed):
            while (got := self.control.receive(time.monotonic() + 0.005)) is not None:
                message = got[1]
                if "flag" in message:
                    self._flag(line(message["flag"]), line(message.get("note")))
        return self.flags

    def _flag(self, kind, note):
        if len(self.flags) < _FLAGS and [kind, note] not in self.flags:
            self.flags.append([kind, note])

    def members(self):
        """Processes in the box, as this side numbers them."""
        if self.process.poll() is not None:
            return []
        return self.group.members() if self.group is not None else _below(self.process.pid)

    def freeze(self):
        """Stop every process of the box. Twice, since one may have been born while they were stopped."""
        for _ in range(2):
            self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def _signal(self, which):
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, which)

    def cpu(self):
        """CPU seconds of the box: of the threads that are there to the nanosecond, or with those that ended in the kernel's ticks."""
        exact = ticks = 0
        for pid in self.members():
            with contextlib.suppress(OSError, ValueError, IndexError):
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text("latin-1").rsplit(")", 1)[1].split()[11:15]))
                exact += sum(int(t.read_text().split()[0]) for t in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return exact / 1e9, ticks / _TICKS

    def peak(self):
        """The most bytes that were resident at once, summed over the processes that are there."""
        total = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/status").read_text("latin-1")
                total += next((int(row.split()[1]) << 10 for row in text.splitlines() if row.startswith("VmHWM:")), 0)
        return total

    def __exit__(self, *_):
        if self.process is not None:
            if self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for open_ in filter(None, (self.log, self.control, self.data)):
            open_.close()
        if self.group is not None:
            self.group.remove()
        if self.private is not None:
            shutil.rmtree(self.private, ignore_errors=True)


def _below(root):
    """A process and all below it, from what /proc says of children, or from all of /proc where it does not say."""
    found, left = [], [root]
    if not Path(f"/proc/{root}/task/{root}/children").exists():
        return sorted(_descendants(root)[0])
    while left:
        pid = left.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    left += map(int, f.read().split())
    return found
