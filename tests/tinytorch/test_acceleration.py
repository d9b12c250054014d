"""Acceleration: closed forms and NumPy for what is computed, and a compiler that may not change a bit."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.acceleration import (
    Fused,
    all_reduce_seconds,
    break_even,
    buffers,
    compiled,
    distances,
    epilogue,
    fuse,
    inputs_of,
    numpy_source,
    operands_of,
    parts,
    product,
    product_traffic,
    run,
    shared,
    simplified,
    trace,
    traffic,
)
from tinytorch.compile import CompileError, Kernel, can_compile, compile_cython
from tinytorch.tensor import ShapeError, Tensor

needs_compiler = pytest.mark.skipif(can_compile() is not None, reason=can_compile() or "")
NUMBERS = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 3e38, 1e-40, 0.1], np.float32)


@st.composite
def programs(draw):
    """Programs of two inputs, with constants for which rules exist and others."""
    program = [("input", "x"), ("input", "y")]
    program += [("const", draw(st.sampled_from([0.0, -0.0, 1.0, 2.0, -0.5, 3.0, 1e30]))) for _ in range(3)]
    for _ in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from(["add", "subtract", "multiply", "divide", "maximum", "negative", "absolute"]))
        count = 1 if name in ("negative", "absolute") else 2
        program.append((name, *(draw(st.integers(max(0, len(program) - 7), len(program) - 1)) for _ in range(count))))
    return program


def bits(program):
    arrays = {"x": np.repeat(NUMBERS, len(NUMBERS)), "y": np.tile(NUMBERS, len(NUMBERS))}
    with np.errstate(all="ignore"):
        result = np.broadcast_to(np.asarray(run(program, arrays), np.float32), (len(NUMBERS) ** 2,)).copy()
    return np.where(np.isnan(result), 1, result.view(np.uint32))


def work(program):
    return sum(bool(operands_of(instruction)) for instruction in program)


@given(programs())
def test_passes_keep_every_bit_and_never_add_work(program):
    simple = simplified(program)
    small = shared(simple)
    assert (bits(simple) == bits(program)).all() and (bits(small) == bits(program)).all()
    assert work(small) <= work(simple) <= work(program)
    assert len(small) == len(set(map(repr, small)))


@given(programs())
def test_buffers_are_as_many_as_values_that_live_at_once(program):
    program = shared(program)
    slots = buffers(program)
    held = {}
    for number, instruction in enumerate(program):
        assert all(held[slots[k]] == k for k in operands_of(instruction) if slots[k] is not None)
        if slots[number] is not None:
            held[slots[number]] = number
    last = {k: number for number, instruction in enumerate(program) for k in operands_of(instruction)}
    alive = [sum(slots[k] is not None and k <= number < last.get(k, len(program)) for k in range(len(program))) for number in range(len(program))]
    assert len({s for s in slots if s is not None}) == max(alive)
    assert slots[-1] in (0, None)


@given(programs())
def test_generated_numpy_is_the_program(program):
    program = shared(simplified(program))
    slots, made = buffers(program), {"np": np}
    exec(numpy_source(program, slots), made)
    arrays = {"x": np.repeat(NUMBERS, len(NUMBERS)), "y": np.tile(NUMBERS, len(NUMBERS))}
    places = [np.empty(len(NUMBERS) ** 2, np.float32) for _ in range(max([0, *(s for s in slots if s is not None)]) + 1)]
    with np.errstate(all="ignore"):
        made["kernel"](*(arrays[name] for name in inputs_of(program)), *places)
    found = np.where(np.isnan(places[0]), 1, places[0].view(np.uint32))
    assert (found == bits(program)).all()


def formula(x, b, scale):
    return (np.maximum(x + b, 0) / 4 - np.minimum(b + x, 1) * scale + np.abs(-x) ** 2) + np.exp(np.tanh(x)) * 1


SHAPES = [((5, 7), (7,), ()), ((3, 1, 4), (2, 1), (1,)), ((200_003,), (200_003,), (1,)), ((), (), ()), ((0, 3), (3,), ()), ((700, 300), (700, 1), ())]


@pytest.mark.parametrize("backend", ["numpy", pytest.param("cython", marks=needs_compiler)])
def test_a_fused_kernel_is_the_function(backend):
    rng = np.random.default_rng(0)
    kernel = fuse(formula, backend)
    for shapes in SHAPES:
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        wanted = formula(*(array.astype(np.float64) for array in arrays))
        found = kernel(*arrays)
        assert found.dtype == np.float32 and found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    strided = [rng.normal(size=(6, 8)).astype(np.float32)[::2].T for _ in range(3)]
    out = np.empty((8, 3), np.float32)
    assert kernel(*strided, out=out) is out
    np.testing.assert_allclose(out, formula(*strided), rtol=1e-4, atol=1e-5)
    assert isinstance(kernel(Tensor(strided[0]), *strided[1:]), Tensor)


def test_what_a_fused_kernel_refuses():
    kernel, x = fuse(lambda x, y: x + y), np.ones(4, np.float32)
    with pytest.raises(ValueError, match="out shares memory with an operand"):
        kernel(x, x, out=x)
    with pytest.raises(ShapeError, match=r"out is a contiguous float32 array of shape \(4,\), got float64 \(4,\)"):
        kernel(x, x, out=np.ones(4))
    with pytest.raises(TypeError, match=r"takes 2 arrays \(x, y\), got 1"):
        kernel(x)
    with pytest.raises(ValueError, match="'numpy' or 'cython', got 'cuda'"):
        fuse(lambda x: x + 1, "cuda")
    with pytest.raises(ValueError, match="does not know sin; it knows add"):
        fuse(lambda x: np.sin(x))
    with pytest.raises(ValueError, match="cannot branch"):
        fuse(lambda x: x if x else -x)
    with pytest.raises(ValueError, match="no backward"):
        kernel(Tensor(x, requires_grad=True), x)


def test_sharing_finds_what_is_written_twice():
    program = compiled(lambda x, b: (x + b) * (b + x) * 1)
    assert program == [("input", "x"), ("input", "b"), ("add", 0, 1), ("multiply", 2, 2)]
    assert traffic(trace(lambda x, b: (x + b) * (b + x))) == (4 * 9, 4 * 3)
    assert isinstance(fuse(lambda x: x), Fused) and (fuse(lambda x: x * 1)(np.ones(3, np.float32)) == 1).all()


@settings(max_examples=30)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.sampled_from([0.0, 1e6]))
def test_distances_are_those_of_the_definition(n, m, d, far):
    rng = np.random.default_rng(n * 100 + m * 10 + d)
    a, b = far + rng.normal(size=(n, d)), far + rng.normal(size=(m, d))
    np.testing.assert_allclose(distances(a, b), ((a[:, None] - b[None]) ** 2).sum(-1), rtol=1e-7, atol=1e-8)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(1, 70))
def test_traffic_of_tiles_is_their_sum(m, k, n, tile):
    total = 0
    for i in range(0, m, tile):
        for j in range(0, n, tile):
            rows, columns = min(tile, m - i), min(tile, n - j)
            total += rows * k + k * columns + rows * columns
    if m and n:
        assert product_traffic(m, k, n, tile, 8) == 8 * total


@given(st.integers(0, 200), st.integers(1, 20))
def test_parts_cover_everything_evenly(n, count):
    found = parts(n, count)
    sizes = [end - begin for begin, end in found]
    assert [k for begin, end in found for k in range(begin, end)] == list(range(n))
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True) and len(found) == count


@given(st.integers(2, 300), st.floats(1e-7, 1e-3), st.floats(1e8, 1e12))
def test_a_ring_and_a_tree_cost_the_same_at_the_break_even_size(world, latency, bandwidth):
    size = break_even(world, latency, bandwidth)
    ring, tree = all_reduce_seconds(size, world, latency, bandwidth)
    assert ring == pytest.approx(tree) if size else ring <= tree * (1 + 1e-12)
    ring, tree = all_reduce_seconds(2 * size + 1, world, latency, bandwidth)
    assert ring < tree
    rounds, reached = 0, 1
    while reached < world:
        rounds, reached = rounds + 1, 2 * reached
    assert all_reduce_seconds(0, world, latency, bandwidth)[1] == pytest.approx(2 * rounds * latency)


@needs_compiler
def test_kernels_agree_with_numpy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(70, 33)).astype(np.float32), rng.normal(size=(33, 41)).astype(np.float32)
    for tile, threads in ((8, 1), (64, 2), (1, 3)):
        np.testing.assert_allclose(product(a, b, tile, threads), a @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(product(a.T, a), a.T @ a, rtol=1e-4, atol=1e-5)
    x, residual, bias = rng.normal(size=(9, 33)).astype(np.float32), a[:9], a[0]
    np.testing.assert_allclose(epilogue(x, bias, 0.5, residual), np.maximum(x + bias, 0) * 0.5 + residual, rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match=r"\(M, K\) and \(K, N\), got \(70, 33\) and \(70, 33\)"):
        product(a, a)
    with pytest.raises(ShapeError, match="residual"):
        epilogue(x, bias[1:], 1.0, residual)


@needs_compiler
@pytest.mark.parametrize("text, said", [
    ("def f(x):\n    with nogil:\n        print(x)\n", "line 3: "),
    ("def f(:\n    pass\n", "line 1: Expected"),
    ("import numpy\n", "line 1: a kernel imports from libc, cython, cpython only, not from numpy"),
    ("cdef extern from 'nowhere.h':\n    int g(int)\ndef f(int x):\n    return g(x)\n", "the C compiler says .*nowhere.h"),
])
def test_a_text_that_does_not_compile_is_told_in_one_line(text, said, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CompileError, match=said) as failed:
        compile_cython(text)
    assert "\n" not in str(failed.value)
    assert [path.name for path in (tmp_path / "tinytorch" / "kernels").iterdir()] == []


@needs_compiler
def test_a_kernel_is_compiled_once_and_names_what_it_lacks():
    text = "def one(int x):\n    return x + 1\n"
    assert compile_cython(text) is compile_cython(text) and Kernel(text, "one")(1) == 2
    with pytest.raises(CompileError, match="defines no function two"):
        Kernel(text, "two")()
    with pytest.raises(NotImplementedError, match="three is not written yet"):
        Kernel("def three():\n    raise NotImplementedError()\n", "three")()


@needs_compiler
def test_the_cell_magic_defines_what_is_compiled_and_shows_one_line(tmp_path):
    code = """
from IPython.core.interactiveshell import InteractiveShell
from tinytorch.compile import register
shell = InteractiveShell.instance(colors="nocolor")
assert register()
shell.run_cell("%%cython\\ndef plus(int x):\\n    return x + 41\\n")
shell.run_cell("print(plus(1))")
shell.run_cell("%%cython\\ndef plus(int x):\\n    retrn x + 41\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "IPYTHONDIR": str(tmp_path)})
    assert done.stdout.splitlines() == ["42", "CompileError: line 2: Syntax error in simple statement list"], done.stderr


def test_a_machine_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "no C compiler here: install one" in can_compile()


def test_a_cache_that_others_can_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "tinytorch" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(CompileError, match="can be written by others"):
        compile_cython("def a_text_of_its_own():\n    return 1\n")
