"""Timing side by side: every contender runs in turn, so that a change of clock or of neighbours strikes all alike."""

import gc
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# They slow NumPy's BLAS down, by half for the first one on a processor with AVX-512, and it is a contender.
REFUSED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
BATCH = 0.004  # seconds that one sample lasts at least
STUB = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"


@dataclass
class Case:
    """One row. runs: contender -> function of no arguments that makes its own outputs. check() raises if they disagree.

    group names the row of the table of goals. goal holds what time / PyTorch default and time / PyTorch with AVX-512 should
    not exceed, or None. flop and traffic (bytes) are what the operation needs at least, 0 for what has no roofline.
    """

    group: str
    name: str
    runs: dict
    goal: tuple = (None, None)
    flop: float = 0
    traffic: float = 0
    check: object = lambda: None
    least: tuple = ()  # contender, and how many times as fast as it ours should be at least


def refuse():
    """Leave with one line if the environment would make the comparison unfair."""
    wrong = [name for name in REFUSED if name in os.environ]
    if wrong:
        sys.exit(f"{' and '.join(wrong)} slow NumPy down: run env {' '.join(f'-u {name}' for name in REFUSED)} {' '.join(sys.argv)}")


def interleaved(runs, threads, rounds, batch=BATCH):
    """contender -> (median, best) seconds of a run: processor time of this thread, or wall time for several threads."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    repeats = {}
    for name, run in runs.items():
        run()
        run()
        start = clock()
        run()
        repeats[name] = max(1, int(batch / max(clock() - start, 1e-7)))
    times, order = {name: [] for name in runs}, list(runs)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            order = order[1:] + order[:1]
            for name in order:
                run, n = runs[name], repeats[name]
                start = clock()
                for _ in range(n):
                    run()
                times[name].append((clock() - start) / n)
    finally:
        gc.enable()
    return {name: (statistics.median(t), min(t)) for name, t in times.items()}


def environment(threads, avx512=None):
    """Variables of a process that measures. avx512: a library that lets MKL take its AVX-512 path on an AMD processor."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TINYTORCH_NUM_THREADS")
    found = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | dict.fromkeys(names, str(threads))
    return found | ({"LD_PRELOAD": str(avx512)} if avx512 else {})


def avx512_library(folder):
    """Compile the library -> (its path, None), or (None, why there is none)."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None, "not Linux on x86-64"
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    if "AuthenticAMD" not in text:
        return None, "MKL chooses for itself on a processor that is not AMD's"
    if "avx512f" not in text:
        return None, "this processor has no AVX-512"
    source, library = Path(folder, "stub.c"), Path(folder, "stub.so")
    source.write_text(STUB, encoding="utf-8")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as reason:
        return None, f"no C compiler: {reason}"
    return library, None


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="tensor-core-")


def bar(done, all, what, stream=sys.stderr):
    """One line: a progress bar on a terminal, a line of text elsewhere."""
    if stream.isatty():
        full = round(24 * done / all)
        print(f"\r\033[K[{'#' * full}{'.' * (24 - full)}] {done}/{all} {what}", end="\n" if done == all else "", file=stream, flush=True)
    else:
        print(f"{done}/{all} {what}", file=stream, flush=True)
