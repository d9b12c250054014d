"""Which code runs an operation: a Cython kernel, or the NumPy function of the same name.

    kernel("copy")(x, out)          what the current backend runs
    backend("reference")            choose, for this thread (or asyncio task)
    with backend("reference"): ...  choose, and choose back at the end
    print(backend_info())

The default is "cython"; TINYTORCH_BACKEND=reference changes it for the whole process. Under "cython", a kernel that was
not compiled is replaced by its NumPy function, so programs run everywhere.
"""

import os
import warnings
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module

from tinytorch._ext import _reference

BACKENDS = ("cython", "reference")
KERNELS = {  # kernel -> the extension module that has it
    "copy": "tinytorch._ext.copy",
    "Value": "tinytorch._ext.value",
}


def _load():
    """Every kernel's native function, and for each one that is absent the reason."""
    native, missing = {}, {}
    for name, module in KERNELS.items():
        try:
            native[name] = getattr(import_module(module), name)
        except ModuleNotFoundError:
            missing[name] = "not compiled"
        except ImportError as reason:  # compiled for another Python or NumPy, for instance
            missing[name] = str(reason).splitlines()[0]
    return native, missing


def _known(name, names, what):
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}: choose from {', '.join(map(repr, names))}")
    return name


_native, _missing = _load()
_tables = {"reference": {name: getattr(_reference, name) for name in KERNELS}}
_tables["cython"] = _tables["reference"] | _native
_default = _known(os.environ.get("TINYTORCH_BACKEND") or "cython", BACKENDS, "TINYTORCH_BACKEND")
_choice = ContextVar("tinytorch.backend", default=_default)


def kernel(name):
    """The function that runs kernel `name` under the current backend."""
    return _tables[_choice.get()][_known(name, KERNELS, "kernel")]


class backend:
    """Choose "cython" or "reference" from here on; as a context manager, until the end of the block.

    The choice belongs to the current thread or task: others keep theirs, and new threads start with the default.
    """

    def __init__(self, name):
        self._previous = _choice.get()
        _choice.set(_known(name, BACKENDS, "backend"))
        if name == "cython" and _missing:
            warnings.warn(str(backend_info()), RuntimeWarning, stacklevel=2)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        _choice.set(self._previous)


@dataclass(frozen=True)
class BackendInfo:
    """The backend in force, the compiler of the kernels (None if there are none), and which kernels are native."""

    backend: str
    compiler: str | None
    native: tuple[str, ...]
    missing: dict[str, str]  # kernel -> reason

    def __str__(self):
        parts = [f"backend {self.backend}"]
        if self.native:
            parts.append(f"native: {', '.join(self.native)} ({self.compiler})")
        if self.missing:
            groups = {reason: [name for name in self.missing if self.missing[name] == reason] for reason in self.missing.values()}
            names = ", ".join(f"{', '.join(group)} ({reason})" for reason, group in groups.items())
            parts.append(f"NumPy instead of: {names}; install a C compiler, then run pip install -e . again")
        return "; ".join(parts)


def backend_info():
    """What runs here, as a BackendInfo; str() of it is one line."""
    compiler = import_module(KERNELS["copy"]).compiler if "copy" in _native else None
    return BackendInfo(_choice.get(), compiler, tuple(_native), dict(_missing))


if __name__ == "__main__":
    print(backend_info())
