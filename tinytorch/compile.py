"""Compile Cython from a text, where it is used: the kernels that students write.

    module = compile_cython('''
    def double(object[const float, ndim=1, mode="c"] x, object[float, ndim=1, mode="c"] out):
        cdef Py_ssize_t i, n = x.shape[0]
        for i in range(n):
            out[i] = 2 * x[i]
    ''')
    module.double(x, out)

    double = Kernel(text, "double")     compiled at its first call
    register()                          the cell magic %%cython, where there is an IPython

The result lies in the user's cache folder under the hash of everything that it depends on, so that the same text is
compiled once. It is made for the processor that is here and belongs to nobody else's machine.

Raises CompileError, one line: what Cython or the C compiler says with the line of the text, or what is missing here.
"""

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-w")
DIRECTIVES = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}
SECONDS = 60  # for the C compiler
ALLOWED = ("libc", "cython", "cpython")
UNWRITTEN = "raise NotImplementedError()"
_LOADED = {}


class CompileError(Exception):
    """A text that does not compile, or a machine that cannot compile it. In a notebook it is shown as its one line."""

    def _render_traceback_(self):
        return [f"CompileError: {self}"]


def compile_cython(source, *, openmp=True):
    """Compile the text of a Cython module and import it -> module.

    Bounds are not checked, negative indices are not wrapped and integers divide as in C, unless the text says otherwise
    (`# cython: boundscheck=True`). Only libc, cython and cpython may be cimported. openmp: prange runs on threads where
    the compiler knows how; elsewhere it is an ordinary loop. Raises CompileError.
    """
    name = "kernel_" + _address(source, openmp)
    if name not in _LOADED:
        folder = _cache()
        binary = folder / f"{name}.so"
        if not binary.is_file():
            _build(source, name, binary, openmp)
        spec = importlib.util.spec_from_file_location(name, binary, loader=importlib.machinery.ExtensionFileLoader(name, str(binary)))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _LOADED[name] = module
    return _LOADED[name]


class Kernel:
    """A function `name` of a Cython text, compiled at its first call. Raises CompileError there, NotImplementedError for a text
    that says so."""

    def __init__(self, source, name):
        self.source, self.__name__ = source, name

    def __call__(self, *args, **kwargs):
        if UNWRITTEN in self.source:
            raise NotImplementedError(f"{self.__name__} is not written yet")
        module = compile_cython(self.source)
        if not hasattr(module, self.__name__):
            raise CompileError(f"the text defines no function {self.__name__}; write def {self.__name__}(...)")
        return getattr(module, self.__name__)(*args, **kwargs)


def can_compile():
    """None where Cython and a C compiler are here, else one line that says what is missing."""
    try:
        _cython()
        import Cython.Compiler.Main  # noqa: F401  (once, before checks fork)
        _compiler()
    except CompileError as error:
        return str(error)
    return None


def register():
    """Make `%%cython` a cell magic: the cell is compiled, and what it defines is there afterwards. -> whether IPython is here."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return False

    def magic(line, cell):
        if line.strip():
            raise CompileError(f"%%cython takes no options here, got {line.strip()!r}")
        module = compile_cython(cell)
        shell.user_ns.update({name: value for name, value in vars(module).items() if not name.startswith("_")})

    shell.register_magic_function(magic, "cell", "cython")
    return True


def _address(source, openmp):
    parts = (source, openmp, FLAGS, DIRECTIVES, sys.version, sysconfig.get_platform(), _processor(), _cython().__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _processor():
    """What the processor can do: a home folder may be shared between machines."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line for line in file if line.startswith(("flags", "Features"))), "")
    return ""


def _cache():
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("tinytorch")) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CompileError(f"{folder} for compiled kernels cannot be made ({error.strerror}): make it, or set XDG_CACHE_HOME") from None
    if hasattr(os, "geteuid") and (folder.stat().st_uid != os.geteuid() or folder.stat().st_mode & 0o022):
        raise CompileError(f"{folder} can be written by others, and what lies there would be run: chmod it to 700, or set XDG_CACHE_HOME")
    return folder


def _cython():
    try:
        import Cython
    except ImportError:
        raise CompileError("no Cython here: pip install 'cython>=3.0,<4'; where this is graded, it is there") from None
    return Cython


def _compiler():
    if sys.platform == "win32":
        raise CompileError("kernels are compiled on Linux and macOS; on Windows work in WSL or on the hub")
    path = next(filter(None, map(shutil.which, COMPILERS)), None)
    if path is None:
        raise CompileError("no C compiler here: install one (Debian: apt install gcc python3-dev; macOS: xcode-select --install); "
                           "where this is graded, it is there")
    return path


def _build(source, name, binary, openmp):
    compiler = _compiler()
    with tempfile.TemporaryDirectory(dir=binary.parent, prefix="build-") as folder:
        text, made = Path(folder, f"{name}.pyx"), Path(folder, f"{name}.so")
        text.write_text(_checked(source), encoding="utf-8")
        _translate(text)
        link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
        command = [compiler, *FLAGS, *link, f"-I{sysconfig.get_path('include')}", f"-I{sysconfig.get_path('platinclude')}",
                   str(text.with_suffix(".c")), "-o", str(made), "-lm"]
        said = _run([*command, "-fopenmp"], folder) if openmp else "without"
        if said is not None:  # Apple's clang has no OpenMP
            said = _run(command, folder)
        if said is not None:
            raise CompileError(said)
        os.replace(made, binary)


def _checked(source):
    """The text, if it takes nothing from Python's libraries: a kernel that calls NumPy is none."""
    for number, line in enumerate(source.splitlines(), 1):
        found = re.match(r"\s*(?:from|cimport|import)\s+([\w.]+)", line)
        if found and found[1].split(".")[0] not in ALLOWED:
            raise CompileError(f"line {number}: a kernel imports from {', '.join(ALLOWED)} only, not from {found[1]}")
    return source


def _translate(text):
    """Cython to C, beside it."""
    _cython()
    from Cython.Compiler import Main, Options

    directives = {**Options.get_directive_defaults(), **DIRECTIVES}
    options = Main.CompilationOptions(Main.default_options, output_file=str(text.with_suffix(".c")), compiler_directives=directives)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        result = Main.compile(str(text), options)
    if result.num_errors:
        found = re.search(rf"{re.escape(text.name)}:(\d+):\d+: (.+)$", said.getvalue(), re.M)
        raise CompileError(f"line {found[1]}: {found[2]}" if found else f"Cython: {said.getvalue().strip()[-200:]}")


def _run(command, folder):
    """None if the C compiler is content, else one line."""
    environment = {key: value for key, value in os.environ.items() if key not in ("CFLAGS", "CPATH")} | {"LC_ALL": "C", "TMPDIR": folder}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"the C compiler took more than {SECONDS} s"
    if done.returncode == 0:
        return None
    if "Python.h" in done.stderr:
        return "the headers of Python are missing: install them (Debian: apt install python3-dev)"
    said = done.stderr.strip()[-200:] or f"exit status {done.returncode}"
    first = next((line for line in done.stderr.splitlines() if "error" in line), said)
    return f"the C compiler says {first.split('/')[-1]}"
