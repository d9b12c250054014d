"""Is the library quick where it has to be? Ratios measured in one process, with a wide alarm; seconds are in benchmarks/mlsysim.md."""

import subprocess
import sys
import time

import numpy as np

from mlsysim import device, model, roofline, solve

H100 = device("h100")
LLAMA = model("llama-3.1-8b")


def least(*calls, rounds=5):
    """Least seconds of each call, all of them in turn so that they share what else the machine does."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def test_a_sweep_is_one_call_and_costs_a_hundredth_of_single_calls():
    flop = np.linspace(1e9, 1e13, 10_000)
    some = flop[::20]
    swept, single = least(lambda: roofline(flop, 1e9, H100), lambda: [roofline(x, 1e9, H100) for x in some])
    assert swept < 20 * single / 100  # 10,000 points against 500 single calls


def test_an_array_of_whole_solves_costs_less_than_half_of_single_ones():
    batch = np.arange(1, 2001)
    swept, single = least(lambda: solve(LLAMA, H100, batch=batch, tokens=1, context=100, allow_infeasible=True),
                          lambda: [solve(LLAMA, H100, batch=int(b), tokens=1, context=100, allow_infeasible=True) for b in batch[::20]],
                          rounds=3)  # fmt: skip
    assert swept < 20 * single / 2  # single ones find their graphs again from the second round on


def test_the_same_question_again_costs_less_than_a_new_one():
    contexts = iter(range(1, 10_000))

    def new():
        for _ in range(100):
            solve(LLAMA, H100, batch=2, tokens=1, context=next(contexts))

    def again():
        for _ in range(100):
            solve(LLAMA, H100, batch=2, tokens=1, context=4096)

    warm, cold = least(again, new)
    assert warm < 0.8 * cold


def test_a_solve_is_a_small_number_of_numpy_calls():
    """A scalar solve, warm, against the least that NumPy can do with arrays of that size."""
    x = np.ones(12)

    def thousand():
        for _ in range(1000):
            np.add(x, x)

    def again():
        for _ in range(100):
            solve(LLAMA, H100, batch=8, tokens=1, context=4096)

    call, solved = (t / n for t, n in zip(least(thousand, again), (1000, 100), strict=True))
    assert solved < 300 * call


def test_import_costs_neither_numpy_nor_anything_larger():
    code = ("import sys; import mlsysim, mlsysim.units; "
            "heavy = {'numpy', 'tomllib', 'matplotlib', 'simpy', 'typer', 'rich', 'pint', 'yaml'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_a_first_answer_loads_no_plots_simulator_or_command_line():
    code = ("import sys, mlsysim; mlsysim.solve('llama-3.1-8b', 'h100', tokens=1, context=2048); "
            "heavy = {'matplotlib', 'simpy', 'typer', 'rich'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
