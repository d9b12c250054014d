"""Compile a sketch for a board: arduino-cli, or Debian's arduino-builder, or a cross gcc for the boards that QEMU emulates.

Whichever it is, it is named in the CompileReport, and nothing of an earlier build is left when one begins.
"""

import functools
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from . import elf, process
from .boards import board as find_board
from .errors import PlatformMissing, SketchError, TimeLimit, UsageError

SKETCHES = Path(__file__).resolve().parent.parent / "sketches"
LIBRARY = SKETCHES / "lib"
COMPILE_SECONDS = 120
_kept = []                              # folders of builds that nobody named; they are removed at exit
_HARDWARE = Path("/usr/share/arduino/hardware")
_SOURCES = (".ino", ".c", ".cpp", ".h", ".hpp", ".S")
_GCC = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? (?P<severity>fatal error|error|warning): (?P<message>.+)$",
                  re.M)
_LINKER = re.compile(r"^(?:.*?ld(?:\.bfd)?: |[^\n]*?: )?(?P<message>(?:[^\n]*undefined reference to|[^\n]*multiple definition of"
                     r"|region [`'][^\n]* overflowed|[^\n]* will not fit in region|address 0x[^\n]* is not within region)[^\n]*)$", re.M)
_USED = re.compile(r"(?:Sketch|Global variables) uses? (\d+) bytes.*?Maximum is (\d+) bytes", re.S)


@dataclass(frozen=True)
class Diagnostic:
    """What a compiler said of one place: severity "error" or "warning"; file as in the sketch folder; line and column from 1, or 0."""

    severity: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self):
        at = ":".join(str(p) for p in (self.file, self.line, self.column) if p)
        return f"{at}: {self.severity}: {self.message}" if at else f"{self.severity}: {self.message}"


@dataclass(frozen=True)
class CompileReport:
    """What came out of a build. Sizes in bytes, maxima 0 where the board sets none; elf and hex are paths or None."""

    ok: bool
    backend: str
    version: str
    board: str
    elf: Path | None = None
    hex: Path | None = None
    flash: int = 0
    flash_max: int = 0
    ram: int = 0
    ram_max: int = 0
    diagnostics: tuple = ()
    seconds: float = 0.0
    argv: tuple = ()

    def __str__(self):
        if not self.ok:
            return f"{self.board}: does not compile ({self.backend} {self.version}): {self.diagnostics[0] if self.diagnostics else ''}"
        parts = [f"{what} {used} B" + (f" of {most} B ({used / most:.0%})" if most else "")
                 for what, used, most in (("flash", self.flash, self.flash_max), ("RAM", self.ram, self.ram_max))]
        return f"{self.board}: {', '.join(parts)}; {self.backend} {self.version}, {self.seconds:.1f} s"


def compile_sketch(sketch, target, *, build=None, files=None, defines=None, boxed=False, check=True, toolchain=None):
    """Compile a sketch for a board or an emulator -> CompileReport.

    sketch: name of a folder in kits/sketches, or a folder or .ino file. target: board ("uno"), emulator ("simavr:atmega328p",
    "qemu:cortex-m4") or FQBN. files: {name: text} to put beside the sketch, such as an exported header. defines: {NAME: value}.
    build: folder for the artefacts; without it they last as long as the process. boxed: in a box without network, which shows the
    compiler nothing but itself, the sketch and kits/sketches/lib.

    Raises SketchError where it does not compile (check=False: a report that is not ok), ToolMissing, PlatformMissing, UsageError.
    """
    target = find_board(target)
    tool = toolchain or find_toolchain(board=target)
    if build is None:
        _kept.append(tempfile.TemporaryDirectory(prefix="boardkit-"))
        build = _kept[-1].name
    folder = Path(build).resolve()
    if boxed:
        report = _in_a_box(tool, sketch, target, folder, files or {}, defines)
    else:
        report = tool.compile(_stage(sketch, folder / "sketch", files or {}), target, folder / "out", defines=defines)
    if check and not report.ok:
        raise _refused(Path(sketch).stem, report)
    return report


def _in_a_box(tool, sketch, target, folder, files, defines):
    """Compile where the user of the box may read, and bring back the program."""
    with tempfile.TemporaryDirectory(prefix="boardkit-") as private:
        os.chmod(private, 0o755)
        private = Path(private)
        staged = _stage(sketch, private / "sketch", files)
        shutil.copytree(LIBRARY, private / "lib")
        report = tool.compile(staged, target, private / "out", defines=defines, boxed=True, library=private / "lib")
        fresh(folder / "out")
        made = {}
        for kind in ("elf", "hex"):
            path = getattr(report, kind)
            if path is not None:
                made[kind] = folder / "out" / path.name
                shutil.copyfile(path, made[kind], follow_symlinks=False)
        return replace(report, **made)


def _refused(name, report):
    first = next((d for d in report.diagnostics if d.severity == "error"), None)
    more = sum(d.severity == "error" for d in report.diagnostics) - 1
    said = str(first) if first else "the compiler gave no reason"
    return SketchError(f"{name} does not compile for {report.board}: {said}" + (f" (and {more} more)" if more > 0 else ""), report)


def find_toolchain(prefer=None, board=None):
    """The toolchain for `board`: CrossGcc for an emulated one, else ArduinoCli or ArduinoBuilder, whichever is there.

    prefer: "arduino-cli" or "arduino-builder", where both are. Raises ToolMissing with how to install each.
    """
    if prefer not in (None, "arduino-cli", "arduino-builder"):
        raise UsageError(f"prefer={prefer!r}: wants 'arduino-cli' or 'arduino-builder'")
    if board is not None and find_board(board).cross:
        return CrossGcc(find_board(board).cross)
    exe = os.environ.get("ARDUINO_CLI") or shutil.which("arduino-cli")
    if os.environ.get("ARDUINO_CLI") and not shutil.which(exe):
        raise UsageError(f"ARDUINO_CLI is {exe!r}, where there is no program; set it to the arduino-cli file or unset it")
    if exe and prefer != "arduino-builder":
        from .arduino_cli import ArduinoCli

        return ArduinoCli(shutil.which(exe))
    if shutil.which("arduino-builder") and prefer != "arduino-cli":
        return ArduinoBuilder()
    names = [prefer] if prefer else ["arduino-cli", "arduino-builder"]
    raise process.ToolMissing("no Arduino toolchain: " + "; ".join(f"{n}: {process.INSTALL[n]}" for n in names))


class ArduinoBuilder:
    """Debian's arduino-builder with its AVR core: boards arduino:avr:* and no others. It cannot upload."""

    name = "arduino-builder"

    def __init__(self, exe="arduino-builder"):
        self.exe = exe

    @functools.cached_property
    def version(self):
        """Its own version, the core's and the compiler's: sizes and cycles hang on all three."""
        said = process.run([self.exe, "-version"], timeout=20)
        own = re.search(r"Arduino Builder (\S+)", said.out + said.err)
        platform = _HARDWARE / "arduino" / "avr" / "platform.txt"
        core = re.search(r"^version=(\S+)", platform.read_text(encoding="utf-8"), re.M) if platform.is_file() else None
        gcc = process.run(["avr-gcc", "-dumpversion"], timeout=20).out.strip()
        return f"{own[1] if own else '?'} (arduino:avr {core[1] if core else '?'}, avr-gcc {gcc})"

    def compile(self, sketch, board, build, defines=None, boxed=False, library=LIBRARY):
        """Compile the sketch folder `sketch` into the folder `build` -> CompileReport, which may be not ok."""
        if not board.fqbn.startswith("arduino:avr:"):
            raise PlatformMissing(f"arduino-builder has the core arduino:avr only, {board.title} is {board.fqbn or 'no Arduino board'}; "
                                  f"install arduino-cli and its core ({process.INSTALL['arduino-cli']})")
        fresh(build)
        cpp, c = build_flags(defines, library, decimal_dig=True)
        argv = [self.exe, "-compile", "-hardware", "/usr/share/arduino-builder", "-hardware", str(_HARDWARE), "-tools", "/usr/bin",
                "-fqbn", board.fqbn, "-build-path", str(build), "-warnings", "all", f"-prefs=compiler.cpp.extra_flags={cpp}",
                f"-prefs=compiler.c.extra_flags={c}", str(sketch / f"{sketch.name}.ino")]
        done, seconds = _timed(argv, boxed, sketch, build, library)
        used = [(int(n), int(most)) for n, most in _USED.findall(done.out)]
        made = [build / f"{sketch.name}.ino.{kind}" for kind in ("elf", "hex")]
        ok = done.code == 0 and all(p.is_file() for p in made) and len(used) == 2
        said = done.err if ok or done.err.strip() else done.out
        (flash, flash_max), (ram, ram_max) = used if len(used) == 2 else ((0, board.flash), (0, board.ram))
        return CompileReport(ok, self.name, self.version, board.name, *(made if ok else (None, None)), flash, flash_max, ram, ram_max,
                             _diagnostics(said, sketch, library, ok), seconds, tuple(argv))


class CrossGcc:
    """A cross gcc for the boards that QEMU emulates: the sketch as C, the port of kits/sketches/lib, no vendor code."""

    def __init__(self, exe):
        self.exe = self.name = exe

    @functools.cached_property
    def version(self):
        return process.run([self.exe, "-dumpfullversion"], timeout=20).out.strip()

    def compile(self, sketch, board, build, defines=None, boxed=False, library=LIBRARY):
        """Compile the sketch folder `sketch` into the folder `build` -> CompileReport, which may be not ok."""
        if shutil.which(self.exe) is None:
            raise process.missing(self.exe)
        fresh(build)
        made = build / f"{sketch.name}.elf"
        bare = bool(board.machine)
        start = library / "ports" / ("mps2.c" if bare else "linux.c")
        argv = [self.exe, *board.flags, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-ffunction-sections", "-fdata-sections",
                f"-ffile-prefix-map={sketch.parent}/=", f"-I{sketch}", f"-I{library}", *_defines(defines),
                "-x", "c", *(str(p) for p in sorted(sketch.rglob("*")) if p.suffix in (".ino", ".c")), str(start), "-x", "none"]
        if bare:
            argv += ["-nostartfiles", "--specs=nano.specs", f"-Wl,--defsym=MLK_FLASH={board.flash},--defsym=MLK_RAM={board.ram}",
                     f"-Wl,-T,{library / 'ports' / 'mps2.ld'}"]
        else:
            argv += ["-static"]
        argv += ["-Wl,--gc-sections", "-lm", "-o", str(made)]
        done, seconds = _timed(argv, boxed, sketch, build, library)
        ok = done.code == 0 and made.is_file()
        size = elf.memory(made) if ok else elf.Memory(0, 0)
        return CompileReport(ok, self.name, self.version, board.name, made if ok else None, None, size.flash, board.flash, size.ram,
                             board.ram, _diagnostics(done.err, sketch, library, ok), seconds, tuple(argv))


def _stage(sketch, folder, files):
    """Copy the sketch's sources, and `files`, to folder/<name>: what is compiled, and all of it."""
    source = Path(sketch)
    if source.suffix == ".ino":
        source = source.parent
    if not source.is_dir() and re.fullmatch(r"\w+", str(sketch)):
        source = SKETCHES / str(sketch)
    name = source.resolve().name
    if not (source / f"{name}.ino").is_file():
        known = sorted(p.parent.name for p in SKETCHES.glob("*/*.ino"))
        raise UsageError(f"no sketch {str(sketch)!r}: wants a folder NAME with NAME.ino in it, or one of {', '.join(known)}")
    staged = folder / name
    shutil.rmtree(folder, ignore_errors=True)
    staged.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.suffix in _SOURCES and path.is_file():
            shutil.copyfile(path, staged / path.name)
    for file, text in files.items():
        if not re.fullmatch(r"\w[\w-]{0,63}\.(h|c|ino|cpp)", file):
            raise UsageError(f"file {file!r}: wants a name of letters, digits, _ and -, ending in .h, .c, .cpp or .ino")
        (staged / file).write_text(text, encoding="utf-8")
    return staged


def fresh(build):
    """Make the folder of a build, empty."""
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)


def _timed(argv, boxed, sketch, build, library):
    start = time.monotonic()
    try:
        done = process.run(argv, timeout=COMPILE_SECONDS, cwd=build, boxed=boxed, readable=(sketch, library), writable=(build,))
    except TimeLimit:
        raise TimeLimit(f"{sketch.name}: the compiler did not end within {COMPILE_SECONDS} s; look for an include or a macro "
                        "that repeats itself") from None
    return done, time.monotonic() - start


def _defines(defines):
    for name, value in (defines or {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or not re.fullmatch(r"[\w.+-]*", str(value)):
            raise UsageError(f"define {name}={value}: wants a C name and a number or a name")
    return [f"-D{name}={value}" if str(value) else f"-D{name}" for name, value in (defines or {}).items()]


def build_flags(defines, library, decimal_dig=False):
    """Extra flags for C++ and for C, as one text each. decimal_dig: gcc 5's float.h hides DECIMAL_DIG from the core's C++."""
    common = " ".join([f'"-I{library}"', *_defines(defines)])
    return (f"-DDECIMAL_DIG=__DECIMAL_DIG__ {common}" if decimal_dig else common), common


def _diagnostics(text, sketch, library, ok):
    """What the compiler said of the sketch and the course's library; a core's own warnings are nobody's business here."""
    found = []
    for m in _GCC.finditer(text):
        path, severity = m["file"], m["severity"].replace("fatal ", "")
        inside = next((p for p in (sketch, library) if path.startswith(f"{p}/")), None)
        if inside is None and severity == "warning":
            continue
        file = path.removeprefix(f"{inside}/") if inside else Path(path).name
        found.append(Diagnostic(severity, m["message"], file, int(m["line"]), int(m["column"] or 0)))
    if not ok and not any(d.severity == "error" for d in found):
        linker = [m["message"] for m in _LINKER.finditer(text)]
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        found += [Diagnostic("error", _plainly(message)[:300]) for message in linker or lines[-1:]]
    return tuple(sorted(dict.fromkeys(found), key=lambda d: d.severity != "error"))


def _plainly(message):
    """A linker's message without the paths of the build; what does not fit is called so."""
    message = re.sub(r" of /\S+ section", " of section", re.sub(r"/\S*/([\w.-]+)", r"\1", message))
    return f"the program does not fit in memory: {message}" if "region" in message or "will not fit" in message else message
