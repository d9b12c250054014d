"""Which code runs an operation: a Cython kernel, or the NumPy function of the same name.

    kernel("copy")(x, out)          what the current backend runs
    backend("reference")            choose, for this thread (or asyncio task)
    with backend("reference"): ...  choose, and choose back at the end
    print(backend_info())

The default is "cython"; TINYTORCH_BACKEND=reference changes it for the whole process. Under "cython", a kernel that was
not compiled is replaced by its NumPy function, so programs run everywhere.

Kernels use TINYTORCH_NUM_THREADS threads; without it OMP_NUM_THREADS, and without that the processors that the process may
use, at most 4. A process that was forked, such as a worker of DataLoader, uses one.
"""

import os
import warnings
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module

from tinytorch._ext import _reference, dispatch

BACKENDS = ("cython", "reference")
FAMILIES = {  # extension module of tinytorch._ext -> its kernels
    "attention": ("attention_forward", "attention_backward", "attention_decode"),
    "batch_norm": ("batch_norm", "batch_norm_backward"),
    "conv": ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"),
    "copy": ("copy",),
    "embedding": ("gather", "scatter_add"),
    "gemm": ("gemm",),
    "pool": ("max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward"),
    "optim": ("adam_step", "sgd_step"),
    "probe": ("multiply_add", "triad"),
    "quant": ("gemm_int8", "gemv_int8", "gemv_int4"),
    "rows": (
        "activate", "activate_backward", "softmax", "softmax_backward", "log_softmax", "log_softmax_backward", "cross_entropy",
        "sum_rows", "layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward",
    ),
    "value": ("Value",),
}
KERNELS = {name: f"tinytorch._ext.{family}" for family, names in FAMILIES.items() for name in names}
MOST_THREADS = 4  # a laptop's fast cores; more is for who asks for it


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
        except AttributeError:
            missing[name] = "compiled before it was written"
    return native, missing


def _known(name, names, what):
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}: choose from {', '.join(map(repr, names))}")
    return name


def _thread_count(environ):
    """How many threads a kernel may use when it is not told."""
    for name in ("TINYTORCH_NUM_THREADS", "OMP_NUM_THREADS"):
        text = environ.get(name, "").partition(",")[0].strip()  # OpenMP's list gives the outermost level first
        if text:
            if not (text.isdecimal() and int(text) > 0):
                raise ValueError(f"{name} is a number of threads, 1 or more, got {environ[name]!r}")
            return int(text)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def _reused_memory():
    """Makes the context manager in which large arrays take memory that earlier ones gave back."""
    try:
        return import_module("tinytorch._ext.buffers").reuse
    except ImportError:
        return nullcontext


_native, _missing = _load()
reused_memory = _reused_memory()
_modules = [m for m in map(import_module, dict.fromkeys(KERNELS[name] for name in _native)) if hasattr(m, "set_isa")]
_tables = {"reference": {name: getattr(_reference, name) for name in KERNELS}}
_tables["cython"] = _tables["reference"] | _native
_default = _known(os.environ.get("TINYTORCH_BACKEND") or "cython", BACKENDS, "TINYTORCH_BACKEND")
_choice = ContextVar("tinytorch.backend", default=_default)


def kernel(name):
    """The function that runs kernel `name` under the current backend."""
    return _tables[_choice.get()][_known(name, KERNELS, "kernel")]


def native_forward(function, tensors):
    """What a kernel computes for this call of an operation -> array; NotImplemented where Python is to compute it.

    function: an instance of tensor.Function, prepared for its operands, tensors.
    """
    cls = type(function)
    held = cls.__dict__.get("_native")
    if held is None or held[0] is not cls.forward or held[1] is not getattr(cls, "compute", None):
        held = cls._native = cls.forward, getattr(cls, "compute", None), dispatch.choose_forward(cls, _native)
    if held[2] is None or _choice.get() != "cython":
        return NotImplemented
    with reused_memory():
        return held[2](function, tensors)


def native_module(module, inputs, options):
    """What a layer computes in one operation on kernels -> tensor; NotImplemented where its forward is to run."""
    cls = type(module)
    held = cls.__dict__.get("_native")
    if held is None or held[0] is not cls.forward:
        held = cls._native = cls.forward, dispatch.choose_module(cls, _native)
    return NotImplemented if held[1] is None or _choice.get() != "cython" else held[1](module, inputs, options)


def native_backward(function, grad):
    """The gradients for the operands that a kernel computes from that of the output, or NotImplemented."""
    rule = type(function).backward
    try:
        stand_in = rule._native
    except AttributeError:
        stand_in = dispatch.choose_backward(rule, _native)
        if hasattr(rule, "__dict__"):
            rule._native = stand_in
    return NotImplemented if stand_in is None or _choice.get() != "cython" else stand_in(function, grad)


def native_step(optimizer, group, step, known, arrays):
    """One step of an optimizer, in place, by a kernel -> whether there is one for this optimizer and these arrays.

    arrays: parameter, gradient and state; known says of each array of state whether it is more than zeros to begin with.
    """
    rule = type(optimizer).rule
    try:
        stand_in = rule._native
    except AttributeError:
        stand_in = rule._native = dispatch.choose_step(rule, _native)
    return _choice.get() == "cython" and stand_in is not None and stand_in(optimizer, group, step, known, arrays)


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


def set_threads(n):
    """Let kernels use n threads from here on, in the whole process."""
    global _threads
    if n < 1:
        raise ValueError(f"a kernel takes 1 thread or more, got {n}")
    for module in _modules:
        module.set_threads(n)
    _threads = n


def set_isa(level):
    """Use the instruction set of this number in all kernels, or the best that the machine has: for tests -> the number."""
    return min((module.set_isa(level) for module in _modules), default=0)


def isa_levels():
    """Numbers of the instruction sets that this machine can run, the best last."""
    best = max((module.isa()[2] for module in _modules), default=0)
    return [level for level in (1, 3, 4, 5) if level <= best]


set_threads(_thread_count(os.environ))


@dataclass(frozen=True)
class BackendInfo:
    """The backend in force; compiler and instruction set of the kernels (None if there are none), how many threads they use,
    and which of them are native. str() names kernels only if some are missing."""

    backend: str
    compiler: str | None
    isa: str | None
    threads: int
    native: tuple[str, ...]
    missing: dict[str, str]  # kernel -> reason

    def __str__(self):
        parts = [f"backend {self.backend}"]
        if self.native:
            threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
            which = ", ".join(self.native) if self.missing else f"all {len(self.native)} kernels"
            parts.append(f"native: {which} ({self.compiler}, {self.isa}, {threads})")
        if self.missing:
            groups = {reason: [name for name in self.missing if self.missing[name] == reason] for reason in self.missing.values()}
            names = ", ".join(f"{', '.join(group)} ({reason})" for reason, group in groups.items())
            parts.append(f"NumPy instead of: {names}; install a C compiler, then run pip install -e . again")
        return "; ".join(parts)


def backend_info():
    """What runs here, as a BackendInfo; str() of it is one line."""
    one = next(iter(_modules), None)
    threads = _threads if one and one.openmp else 1
    return BackendInfo(_choice.get(), one and one.compiler, one and one.isa()[1], threads, tuple(_native), dict(_missing))


if __name__ == "__main__":
    print(backend_info())
