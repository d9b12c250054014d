"""The choice between kernels and their NumPy twins, and the kernels themselves."""

import inspect
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import backend as module
from tinytorch._ext import _reference
from tinytorch.backend import KERNELS, BackendInfo, backend_info, kernel
from tinytorch.backend import backend as use_backend


@st.composite
def views(draw):
    """Random bits seen through permuted axes; some are stepped, reversed, repeated or empty. 0 to 5 axes."""
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8", "i4", "c8"]) | st.sampled_from([">f4", "f2", "u1", "c16"])))
    axes = draw(st.sampled_from([2, 2, 3, 3, 4, 4, 0, 1, 5]))
    side = st.integers(1, (1, 300, 70, 20, 9, 5)[axes])
    shape = draw(st.tuples(*[side] * axes))
    steps = draw(st.just((1,) * axes) | st.tuples(*[st.sampled_from([1, 2, -1, -3])] * axes))
    stored = tuple(n * abs(step) for n, step in zip(shape, steps, strict=True))
    bits = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).bytes(dtype.itemsize * int(np.prod(stored)))
    x = np.frombuffer(bits, dtype).reshape(stored)[..., *(slice(None, None, step) for step in steps)]
    x = x.transpose(draw(st.permutations(range(axes))))
    change = draw(st.sampled_from([None, None, None, "repeat", "empty"])) if axes else None
    if change:
        axis = draw(st.integers(0, axes - 1))
        x = np.broadcast_to(x.take([0], axis), x.shape) if change == "repeat" else x.take([], axis)
    return x


@given(x=views())
def test_copy_writes_every_bit_in_order(backend, x):
    out = np.frombuffer(bytearray(b"\xff" * x.nbytes), x.dtype).reshape(x.shape)
    kernel("copy")(x, out)
    assert out.tobytes() == x.tobytes()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_copy_of_every_permutation_of_axes(backend, rng, order):
    x = rng.normal(size=(2, 34, 3, 18)).astype(np.float32).transpose(order)
    out = np.full(x.shape, np.nan, np.float32)
    kernel("copy")(x, out)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 31, 32, 33, 67])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copy_at_the_edges_of_tiles(backend, rng, rows, dtype):
    for columns in (1, 2, 3, 4, 7, 15, 16, 17, 32, 65):
        x = rng.normal(size=(2, columns, rows)).astype(dtype).swapaxes(1, 2)
        room = np.full(x.size + 8, np.nan, dtype)
        out = room[4:-4].reshape(x.shape)
        kernel("copy")(x, out)
        np.testing.assert_array_equal(out, x)
        assert np.isnan(room[:4]).all() and np.isnan(room[-4:]).all()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 3), np.float32),
        np.empty((3, 2), np.float64),
        np.empty((3, 2), ">f4"),
        np.empty((2, 3), np.float32).T,
        np.frombuffer(bytes(24), np.float32).reshape(3, 2),
    ],
    ids=["shape", "dtype", "byte order", "strides", "read-only"],
)
def test_copy_refuses_a_target_that_does_not_fit(backend, out):
    x = np.ones((2, 3), np.float32).T
    with pytest.raises(ValueError, match=r"out must be writable, C-contiguous, float32, shape \(3, 2\); got"):
        kernel("copy")(x, out)


def test_every_kernel_has_a_twin_with_its_arguments():
    for name in backend_info().native:
        with use_backend("cython"):
            native = inspect.signature(kernel(name))
        assert list(native.parameters) == list(inspect.signature(getattr(_reference, name)).parameters)


def test_kernels_are_native_where_they_can_be_compiled():
    if shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists():
        assert backend_info().missing == {}
        assert backend_info().native == tuple(KERNELS)
    else:
        assert set(backend_info().missing) == set(KERNELS)


def test_the_line_about_a_backend_names_compiler_instruction_set_and_threads():
    info = BackendInfo("cython", "gcc 12.2.0", "AVX2", 2, ("copy", "gemm"), {})
    assert str(info) == "backend cython; native: all 2 kernels (gcc 12.2.0, AVX2, 2 threads)"
    some = replace(info, threads=1, native=("copy",), missing={"gemm": "not compiled"})
    assert str(some) == ("backend cython; native: copy (gcc 12.2.0, AVX2, 1 thread); NumPy instead of: gemm (not compiled); "
                         "install a C compiler, then run pip install -e . again")


def test_a_choice_lasts_until_the_end_of_its_block():
    before = backend_info().backend
    with use_backend("reference"):
        assert kernel("copy") is _reference.copy
        with pytest.raises(KeyError), use_backend("cython"):
            assert backend_info().backend == "cython"
            raise KeyError
        assert backend_info().backend == "reference"
    assert backend_info().backend == before


def test_a_choice_without_a_block_stays():
    before = backend_info().backend
    use_backend("reference")
    assert kernel("copy") is _reference.copy
    use_backend(before)
    assert backend_info().backend == before


def test_a_choice_is_for_one_thread():
    seen = []
    with use_backend("reference"):
        thread = Thread(target=lambda: seen.append(backend_info().backend))
        thread.start()
        thread.join()
    assert seen == [module._default]


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown backend 'numpy': choose from 'cython', 'reference'"):
        use_backend("numpy")
    with pytest.raises(ValueError, match="unknown kernel 'cpy': choose from .*'copy'"):
        kernel("cpy")


def python(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def test_the_environment_sets_the_default_of_a_process():
    code = "from tinytorch.backend import backend_info; print(backend_info().backend)"
    assert python(code, TINYTORCH_BACKEND="reference").stdout == "reference\n"
    assert python(code, TINYTORCH_BACKEND="").stdout == "cython\n"
    assert "unknown TINYTORCH_BACKEND 'fast'" in python(code, TINYTORCH_BACKEND="fast").stderr


FAULT = """
class Fault:
    def find_spec(self, name, path=None, target=None):
        if name in {modules}:
            raise {error}
sys.meta_path.insert(0, Fault())
"""
EXTENSIONS = sorted({*KERNELS.values(), "tinytorch._ext.buffers"})
ABSENT = FAULT.format(modules=EXTENSIONS, error="ModuleNotFoundError(name)")
BROKEN = FAULT.format(modules=EXTENSIONS, error="ImportError('built for another NumPy')")


@pytest.mark.parametrize("fault, reason", [(ABSENT, "not compiled"), (BROKEN, "built for another NumPy")])
def test_without_a_kernel_numpy_runs_and_the_reason_is_told(fault, reason):
    done = python(f"""
import sys
{fault}
import numpy as np
from tinytorch.backend import backend, backend_info, kernel
backend("cython")
out = np.empty((3, 2))
kernel("copy")(np.ones((2, 3)).T, out)
assert out.sum() == 6 and backend_info().native == () and backend_info().compiler is None
print(backend_info())
""")
    assert done.returncode == 0, done.stderr
    line = f"backend cython; NumPy instead of: {', '.join(KERNELS)} ({reason}); install a C compiler, then run pip install -e . again"
    assert done.stdout == line + "\n"
    assert f"RuntimeWarning: {line}" in done.stderr


@pytest.mark.skipif("copy" not in backend_info().native, reason="the kernel is not compiled here")
def test_the_transposed_copy_beats_numpy(rng):
    x = rng.normal(size=(1024, 1024)).astype(np.float32).T
    out = np.empty_like(x, order="C")
    with use_backend("cython"):
        native = kernel("copy")
    ours, numpy = [], []
    for _ in range(15):
        for times, run in ((ours, native), (numpy, _reference.copy)):
            start = time.thread_time()
            run(x, out)
            times.append(time.thread_time() - start)
    assert statistics.median(ours) * 2 < statistics.median(numpy)       # measured 6 to 10 times faster on Zen 5
