"""Run a program and talk to it: a board on a serial port, or an emulator of one. Every target is a line that pyserial opens.

    /dev/ttyACM0, COM3          a board
    socket://HOST:PORT          a board behind a serial server
    simavr:atmega328p|atmega2560        simulated cycles, the same in every run
    qemu:cortex-m4|m7|m55       instructions
    qemu-user:aarch64           a Linux process; its time is the host's and says nothing
"""

import contextlib
import os
import re
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .boards import board as find_board
from .boards import boards
from .errors import BoardError, UsageError
from .runner import avr_runner

BAUD = 115_200
CYCLES_MAX = 4_000_000_000              # of one simavr run: four minutes of a 16 MHz processor
OUTPUT_MAX = 16 << 20                   # bytes that a simavr program may send
_QEMU_NS = 32                           # of virtual time an instruction, -icount shift=5
_BOARD = re.compile(r"/dev/|COM\d+$|rfc2217://|socket://|loop://")
_ENDS = {
    "closed": "it ended with its line", "limit": "it passed its limit of {cycles_max} cycles",
    "output": "it sent more than {output_max} bytes", "stopped": "it went to sleep with interrupts off, for good",
    "crashed": "it crashed: it ran or reached beyond its memory", "unreadable": "simavr cannot read its program",
    "unknown": "simavr does not know this processor",
}


@dataclass(frozen=True)
class Counts:
    """What a target counted. kind: "simulated cycles", "instructions", "host time" or "board timer".

    total: of the whole run so far, None where only the program itself counts. turns: one for each line sent, from its last byte to
    the end of the last line that came back; counted outside the program, which has no say in it. The last turn is known
    when more is sent, or after close().
    """

    kind: str
    total: int | None = None
    turns: tuple = ()


class Target:
    """A program that runs, and its line: `serial` is a pyserial object. Use it in a `with` block, or close() it."""

    def __init__(self, url, kind, serial, *, board=None, emulator=None):
        self.url, self.kind, self.serial, self.board, self._emulator = url, kind, serial, board, emulator

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<Target {self.url}: {self.kind}>"

    def counts(self):
        """What was counted so far -> Counts."""
        turns, total = [], None
        for word, *numbers in self._emulator.events() if self._emulator else ():
            if word == "turn":
                turns.append(int(numbers[0]))
            total = int(numbers[1])
        return Counts(self.kind, total, tuple(turns))

    def count(self, ticks):
        """Ticks that the program took (port_ticks_stop) in units of `kind` -> int."""
        if self.kind != "instructions":
            return ticks
        return round(ticks * 1e9 / self.board.clock / _QEMU_NS)

    def ended(self, wait=0.0):
        """How the program ended, one sentence; "" while it runs, or where it cannot be told. wait: seconds that it may take to."""
        return self._emulator.ended(wait) if self._emulator else ""

    def close(self):
        """Close the line, and end the program where it is an emulator's."""
        if self._emulator:
            self._emulator.closing()
        with contextlib.suppress(OSError):
            self.serial.close()
        if self._emulator:
            self._emulator.close()


def open_target(url, firmware=None, *, cycles_max=CYCLES_MAX, output_max=OUTPUT_MAX, timeout=10.0, baud=BAUD, settle=2.0, boxed=False):
    """Start a program and open its line -> Target.

    url: see the head of this file. firmware: CompileReport or .elf path; an emulator needs it, and a board that gets a report is
    flashed with it first. cycles_max, output_max (bytes): limits of a simavr run. timeout: seconds that a read waits. baud, settle:
    of a board; seconds until its boot loader has given way. boxed: the emulator in a box.

    Raises UsageError, BoardError, TargetError, ToolMissing.
    """
    url = str(url)
    if _BOARD.match(url):
        return _open_board(url, firmware, baud, timeout, settle)
    found = find_board(url)
    if not found.target:
        raise UsageError(f"{found.title} has no emulator here; a port such as /dev/ttyACM0 opens the board"
                         + (f", and {boards()[found.stand_in].target} runs the same kernels" if found.stand_in else ""))
    elf = Path(getattr(firmware, "elf", None) or firmware or "")
    if not elf.is_file():
        raise UsageError(f"{url} needs a program to run: firmware=compile_sketch(NAME, {url!r}), got {str(firmware)[:80]!r}")
    emulator = _Emulator(found, elf, cycles_max, output_max, boxed)
    try:
        return Target(found.target, emulator.kind, emulator.connect(timeout), board=found, emulator=emulator)
    except BaseException:
        emulator.close()
        raise


def _open_board(url, firmware, baud, timeout, settle):
    serial = pyserial()
    if firmware is not None:
        from .arduino_cli import upload

        url = upload(firmware, url)
    try:
        line = serial.serial_for_url(url, baud, timeout=timeout)
    except (serial.SerialException, OSError, ValueError) as error:
        raise BoardError(_why_not(url, error)) from None
    if url.startswith("/dev/") or url.startswith("COM"):
        time.sleep(settle)              # opening the port resets many boards
        line.reset_input_buffer()
    return Target(url, "board timer", line)


def _why_not(url, error):
    if isinstance(error, PermissionError) or "Permission denied" in str(error) or getattr(error, "errno", 0) == 13:
        return f"{url}: not allowed to open it; join the group that owns it (often dialout) and log in again"
    from serial.tools import list_ports

    ports = ", ".join(p.device for p in list_ports.comports()) or "none"
    if "No such file" in str(error) or "could not open port" in str(error) or "FileNotFoundError" in str(error):
        return f"{url}: cannot be opened; serial ports here: {ports}. Is the board plugged in, and the cable one for data?"
    return f"{url}: {' '.join(str(error).split())[:160]}; serial ports here: {ports}"


def pyserial():
    """The module `serial`. Raises ToolMissing."""
    try:
        import serial
    except ImportError:
        raise process.missing("pyserial") from None
    return serial


class _Emulator:
    """A process with a socket for its line."""

    def __init__(self, board, elf, cycles_max, output_max, boxed):
        self.board, self.elf, self.boxed = board, elf.resolve(), boxed
        self.limits = {"cycles_max": int(cycles_max), "output_max": int(output_max)}
        self.stack, self.process, self.last, self.closed = contextlib.ExitStack(), None, "", False
        how, _, self.model = board.target.partition(":")
        self.kind = {"simavr": "simulated cycles", "qemu": "instructions", "qemu-user": "host time"}[how]

    def argv(self):
        if self.kind == "simulated cycles":
            return [str(avr_runner()), self.model, str(self.board.clock), str(self.elf), *(str(n) for n in self.limits.values())]
        if self.kind == "host time":
            return ["qemu-aarch64", str(self.elf)]
        return ["qemu-system-arm", "-M", self.board.machine, "-kernel", str(self.elf), "-display", "none", "-monitor", "none",
                "-serial", "stdio", "-accel", "tcg,tb-size=32", "-icount", "shift=5,align=off,sleep=off"]

    def connect(self, timeout):
        """Start it with one end of a connection as standard input and output -> pyserial on the other."""
        argv = self.argv()
        if shutil.which(argv[0]) is None:
            raise process.missing(argv[0])
        if self.boxed:
            argv = self._within_reach(argv)
        self.log = self.stack.enter_context(tempfile.TemporaryFile())
        with socket.create_server(("127.0.0.1", 0)) as server:
            line = _line(server.getsockname()[1], timeout)
            end = _accept(server, line.address)
        with end:
            self.process = self.stack.enter_context(process.started(
                argv, stdin=end, stdout=end, stderr=self.log, boxed=self.boxed, readable=(self.folder,) if self.boxed else ()))
        return line

    def _within_reach(self, argv):
        """The files of argv copied to where the user of the box may read them."""
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="boardkit-"))
        os.chmod(self.folder, 0o755)
        moved = {}
        for path in (argv[0], str(self.elf)):
            if os.path.isabs(path):
                moved[path] = os.path.join(self.folder, os.path.basename(path))
                shutil.copyfile(path, moved[path])
                os.chmod(moved[path], 0o755)
        return [moved.get(a, a) for a in argv]

    def events(self):
        """What simavr's runner said -> [word, ...] of each line."""
        return [line.split() for line in self.text().splitlines() if line.startswith(("turn ", "end "))]

    def ended(self, wait):
        with contextlib.suppress(process.StillRunning):
            self.process.wait(wait)
        if self.process.poll() is None:
            return ""
        end = next((event[1] for event in self.events() if event[0] == "end"), "closed" if self.closed else None)
        if end is not None:
            return _ENDS[end].format(**{k: f"{v:,}" for k, v in self.limits.items()})
        said = [line for line in self.text().splitlines() if "icount sleep disabled" not in line]
        return f"it ended (status {self.process.returncode})" + (f": {said[-1][:200]}" if said else "")

    def text(self):
        if self.process is None or self.log.closed:
            return self.last
        return os.pread(self.log.fileno(), process.MAX_OUTPUT, 0).decode("utf-8", "replace")

    def closing(self):
        """Its line is about to be closed: what still runs ends with it, by itself or by close()."""
        self.closed = self.closed or self.process.poll() is None

    def close(self):
        if self.process is not None and self.process.poll() is None and self.kind == "simulated cycles":
            with contextlib.suppress(process.StillRunning):
                self.process.wait(0.5)  # the end of its line is its end; the rest is ended below
        if self.process is not None:
            process.end(self.process)
            self.last = self.text()
        self.stack.close()


def _line(port, timeout):
    """pyserial's line to a port of this machine, which knows its own address and closes without a pause for the other side."""
    pyserial()
    from serial.urlhandler.protocol_socket import Serial

    class Line(Serial):
        @property
        def address(self):
            return self._socket.getsockname()

        def close(self):
            if self.is_open:
                self.is_open = False
                self._socket.close()

    return Line(f"socket://127.0.0.1:{port}", timeout=timeout)


def _accept(server, wanted):
    """The connection that came from `wanted`: on a shared machine another user may have been quicker."""
    while True:
        end, peer = server.accept()
        if peer == wanted:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return end
        end.close()


def targets():
    """URLs of the emulators -> list of str."""
    return [b.target for b in boards().values() if b.target]
