"""arduino-cli as a program: arguments in a list, JSON out, and its three ways of failing told apart.

1. compile prints its whole result on standard output and exits 1: success is false, `diagnostics` say where.
2. any other command prints {"error": ...} on standard error.
3. an unknown command or flag is plain text on standard error, --json or not.

Source: arduino-cli 1.2.2, recorded in tests/kits/recorded; keys that are not named here may come and go.
"""

import functools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from . import process
from .errors import BoardError, KitError, PlatformMissing, UsageError
from .toolchain import COMPILE_SECONDS, LIBRARY, CompileReport, Diagnostic, build_flags, find_toolchain, fresh

# What its error texts hold -> the error that they mean.
_MEANINGS = (
    ("not an FQBN", UsageError), ("Invalid FQBN: board", BoardError), ("platform not installed", PlatformMissing),
    ("Platform '", PlatformMissing), ("unknown command", UsageError), ("unknown flag", UsageError), ("Can't open sketch", UsageError),
    ("Failed uploading", BoardError), ("port not found", BoardError), ("No upload port", BoardError),
)


@dataclass(frozen=True)
class Port:
    """A serial port with what is known of the board behind it: fqbn and name are "" for a USB chip that no core claims."""

    address: str
    name: str = ""
    fqbn: str = ""


class ArduinoCli:
    """The arduino-cli at `exe`. config: its configuration file, if not its own default."""

    name = "arduino-cli"

    def __init__(self, exe="arduino-cli", config=None):
        self.exe, self.config = str(exe), config

    @functools.cached_property
    def version(self):
        return self._json("version", timeout=60).get("VersionString", "?")

    def compile(self, sketch, board, build, defines=None, boxed=False, library=LIBRARY):
        """Compile the sketch folder `sketch` into the folder `build` -> CompileReport, which may be not ok."""
        if not board.fqbn:
            raise UsageError(f"{board.title} is no Arduino board: arduino-cli cannot compile for it")
        fresh(build)
        cpp, c = build_flags(defines, library)
        argv = self._argv("compile", "--fqbn", board.fqbn, "--build-path", str(build), "--warnings", "all",
                          "--build-property", f"compiler.cpp.extra_flags={cpp}", "--build-property", f"compiler.c.extra_flags={c}",
                          str(sketch))
        start = time.monotonic()
        done = process.run(argv, timeout=COMPILE_SECONDS, boxed=boxed, readable=(self.exe, *self._data(), sketch, library) if boxed else (),
                           writable=(build,))
        seconds, answer = time.monotonic() - start, _object(done.out)
        if answer is None or "success" not in answer:
            raise _failure(self.exe, "compile", done)
        result = answer.get("builder_result") or {}
        found = [_diagnostic(d, sketch) for d in result.get("diagnostics") or ()]
        if not answer["success"] and not found:
            error = _meaning(str(answer.get("error", "")))
            if error is not None:
                raise error(f"arduino-cli compile: {_line(answer['error'])}" + _advice(error, board.fqbn))
            found = [Diagnostic("error", _line(answer.get("compiler_err") or answer.get("error") or "no reason given"))]
        sizes = {s.get("name"): s for s in result.get("executable_sections_size") or ()}
        text, data = (sizes.get(n, {}) for n in ("text", "data"))
        elf, hex_ = ((build / f"{sketch.name}.ino.{kind}") for kind in ("elf", "hex"))
        ok = bool(answer["success"]) and elf.is_file()
        if answer["success"] and not ok:
            raise KitError(f"arduino-cli says that it compiled {sketch.name}, but its build folder has no {elf.name}; run it by hand")
        return CompileReport(ok, self.name, self.version, board.name, elf if ok else None, hex_ if ok and hex_.is_file() else None,
                             text.get("size", 0), text.get("max_size", board.flash), data.get("size", 0), data.get("max_size", board.ram),
                             tuple(sorted(found, key=lambda d: d.severity != "error")), seconds, tuple(argv))

    def ports(self):
        """Serial ports with the boards behind them -> list of Port."""
        answer = self._json("board", "list", timeout=60)
        detected = answer.get("detected_ports") or () if isinstance(answer, dict) else answer    # a bare list before 1.0
        found = []
        for entry in detected:
            boards = entry.get("matching_boards") or [{}]
            address = (entry.get("port") or {}).get("address", "")
            found += [Port(address, b.get("name", ""), b.get("fqbn", "")) for b in boards[:1]]
        return found

    def cores(self):
        """Installed cores -> {id: version}."""
        answer = self._json("core", "list", timeout=60)
        return {p.get("id", ""): p.get("installed_version", "") for p in answer.get("platforms") or ()}

    def install_core(self, core):
        """Install a core such as "arduino:mbed_nicla", over the network."""
        self._json("core", "install", core, timeout=1800)

    def upload(self, report, port, fqbn):
        """Write the program of a CompileReport to the board at `port` -> the port that the board has now, which may be another."""
        if report.elf is None:
            raise UsageError("there is nothing to upload: the sketch did not compile")
        answer = self._json("upload", "--fqbn", fqbn, "--port", str(port), "--input-dir", str(Path(report.elf).parent), timeout=300)
        moved = answer.get("updated_upload_port") or {}
        return moved.get("address") or str(port)

    def _argv(self, *arguments):
        config = ["--config-file", str(self.config)] if self.config else []
        return [self.exe, *arguments, "--json", *config]

    def _json(self, *arguments, timeout):
        done = process.run(self._argv(*arguments), timeout=timeout)
        answer = _object(done.out)
        if done.code != 0 or answer is None:
            raise _failure(self.exe, " ".join(arguments[:2] if arguments[0] in ("board", "core") else arguments[:1]), done)
        return answer

    def _data(self):
        """Its data folder, which a box must show it: cores and compilers."""
        folder = self._json("config", "dump", timeout=60).get("config", {}).get("directories", {}).get("data")
        return [folder] if folder else []


def upload(report, port):
    """Flash a board with a CompileReport through arduino-cli -> its port, which may have changed."""
    from .boards import board

    tool = find_toolchain("arduino-cli")
    if not getattr(report, "board", None):
        raise UsageError(f"a board is flashed with a CompileReport, got {report!r:.80}")
    return tool.upload(report, port, board(report.board).fqbn)


def _object(text):
    """The JSON of a whole output, None where it is none."""
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict | list) else None


def _failure(exe, verb, done):
    """The error of a command that failed: what it says of itself on standard error, as JSON or as text."""
    said = _object(done.err)
    text = str(said.get("error", "")) if isinstance(said, dict) else done.err.strip() or done.out.strip()
    if not text:
        return KitError(f"{os.path.basename(exe)} {verb} ended with status {done.code} and said nothing; run it by hand to see why")
    kind = _meaning(text) or (KitError if isinstance(said, dict) else UsageError)
    return kind(f"arduino-cli {verb}: {_line(text)}")


def _meaning(text):
    return next((kind for part, kind in _MEANINGS if part in text), None)


def _advice(kind, fqbn):
    core = ":".join(fqbn.split(":")[:2])
    return f"; install it with `arduino-cli core install {core}`" if kind is PlatformMissing else ""


def _diagnostic(d, sketch):
    path = str(d.get("file", ""))
    name = path.removeprefix(f"{sketch}/") if path.startswith(f"{sketch}/") else PureWindowsPath(path).name
    severity = "error" if d.get("severity") in ("ERROR", "FATAL") else "warning"
    return Diagnostic(severity, _line(d.get("message", "")), name, int(d.get("line") or 0), int(d.get("column") or 0))


def _line(text):
    return " ".join(str(text).split())[:300]
