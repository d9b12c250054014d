"""TinyTorch's kernels beside PyTorch, NumPy and the limits of the machine. Writes tensor_core.md.

    .venv/bin/python benchmarks/tensor_core.py [--rounds 25] [--only GROUP ...]

Contenders run in turn, in one process, and agree on the results before they are timed. PyTorch is measured as installed and,
in a second process, with MKL's AVX-512 path on an AMD processor, which MKL does not take by itself: LD_PRELOAD of a function
that says that the processor is Intel's. Two threads have a process of their own. One thread is timed by its processor time,
two by the clock on the wall. Refuses to run where OPENBLAS_CORETYPE or OPENBLAS_L2_SIZE is set.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from kernels import harness

HERE = Path(__file__).resolve().parent
ON_TWO = ("training step", "1024 × 1024 × 1024", "fwd+bwd", "× 32 × 32 → 64", "2 threads")  # rows worth a second thread
COMPARED = {"default": ("ours", "torch", "torch, fused Adam", "numpy"), "avx512": ("ours", "torch"), "threads": ("ours", "torch")}


def chosen(words, wanted):
    """Whether one of the wanted texts is in the name of a row; all are chosen where nothing is wanted."""
    return not wanted or any(text in words for text in wanted)


def worker(options):
    """Measure in this process -> list of rows, as JSON in options.to."""
    import torch
    from kernels import cases

    from tinytorch.backend import backend_info
    from tinytorch.bench import roofline

    torch.set_num_threads(options.threads)
    builders = [*cases.ALL, cases.two_threads] if options.worker == "threads" else cases.ALL
    rows, roof = [], roofline(options.threads, points=False)
    for number, build in enumerate(builders):
        for case in build():
            words = f"{case.group} {case.name}"
            if not chosen(words, options.only) or (options.worker == "threads" and not chosen(words, ON_TWO)):
                continue
            harness.bar(number, len(builders), f"{options.worker}: {case.group}, {case.name}")
            case.check()
            wanted = COMPARED[options.worker] + ("numpy",) * (case.group == "2 threads")
            runs = {name: run for name, run in case.runs.items() if name in wanted}
            times = harness.interleaved(runs, options.threads, options.rounds)
            bound = roof.bound(case.flop, case.traffic) if case.flop or case.traffic else None
            rows.append({"group": case.group, "name": case.name, "times": times, "goal": case.goal, "flop": case.flop, "least": case.least,
                         "bound": bound})  # fmt: skip
    harness.bar(len(builders), len(builders), f"{options.worker}: done")
    said = {"peaks": roof.peaks, "bandwidth": roof.bandwidth, "ridge": roof.ridge, "kernels": str(backend_info()), "machine": roof.machine}
    busy = f"{os.getloadavg()[0]:.1f} processes" if hasattr(os, "getloadavg") else "unknown"
    options.to.write_text(json.dumps({"rows": rows, "roof": said, "load": busy}), encoding="utf-8")


def measured(name, threads, options, folder, library=None):
    """What a worker process finds."""
    result = Path(folder, f"{name}.json")
    command = [sys.executable, __file__, "--worker", name, "--threads", str(threads), "--rounds", str(options.rounds), "--to", result]
    subprocess.run([*command, *(["--only", *options.only] if options.only else [])], check=True, env=harness.environment(threads, library))
    return json.loads(result.read_text(encoding="utf-8"))


def seconds(t):
    unit, factor = next((u, f) for u, f in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if t * f >= 1 or u == "µs")
    return f"{t * factor:,.3g} {unit}" if t * factor < 1000 else f"{t * factor:,.0f} {unit}"


def ratio(row, contender, goal=None):
    """Time over that of a contender, bold where a goal is met, with the goal."""
    if row is None or contender not in row["times"]:
        return "–"
    r = row["times"]["ours"][0] / row["times"][contender][0]
    return f"{r:.2f}" if goal is None else f"**{r:.2f}** ≤ {goal:.2f}" if r <= goal else f"{r:.2f}, missed {goal:.2f}"


def against_numpy(row):
    if "numpy" not in row["times"]:
        return "–"
    times = row["times"]["numpy"][0] / row["times"]["ours"][0]
    text = f"{times:.1f}×" if times < 100 else f"{times:,.0f}×"
    if not row["least"]:
        return text
    least = row["least"][1]
    return f"**{text}** ≥ {least:g}×" if times >= least else f"{text}, missed {least:g}×"


def missed(row, fast):
    """Whether a row misses any of its goals."""
    found = [row["goal"][0] is not None and row["times"]["ours"][0] > row["goal"][0] * row["times"]["torch"][0]]
    if fast and row["goal"][1] is not None:
        found.append(fast["times"]["ours"][0] > row["goal"][1] * fast["times"]["torch"][0])
    if row["least"]:
        found.append(row["times"]["numpy"][0] < row["least"][1] * row["times"]["ours"][0])
    return any(found)


PAGE = """# TinyTorch's kernels, beside PyTorch, NumPy and the machine

`benchmarks/tensor_core.py`, {date}. Machine: {machine}. {versions}. Kernels: {compiler}.
Medians of {rounds} rounds, contenders in turn. All make their outputs anew, and agreed before they were timed. Ratios are our
time over theirs, so less than 1 is faster; bold meets its goal. "AVX-512" is PyTorch in a process in which MKL takes its AVX-512
path{library}, with our time from the same process. "× NumPy" is how many times as fast as vectorised NumPy ours is (the Python twin
for the scalar engine; for whole steps, TinyTorch with backend("reference")). "of the roof" is the least time of the work at the
measured {peak:.0f} GFLOP/s and {bandwidth:.1f} GB/s of one thread, as a share of ours; above 100 % the data stay in cache.

## One thread
| work | | ours | ÷ PyTorch | ÷ PyTorch AVX-512 | × NumPy | of the roof |
|---|---|---|---|---|---|---|
{one}

{steps}

## Two threads
By the clock on the wall, on {processors} processors. The last row is how many times as fast two threads are as one; the goal is 1.6× on an
idle machine. Load while these rows were measured: {load}, this one included. Where other programs take a processor, a
median says how long they kept it, and the best run comes nearest to an idle machine.

| work | | ours, median | ÷ PyTorch | ours, best | ÷ PyTorch |
|---|---|---|---|---|---|
{two}

{notes}
"""


def page(options, one, fast, two, why):
    by_name = {(r["group"], r["name"]): r for r in (fast or {"rows": []})["rows"]}
    lines, misses = [], []
    for row in one["rows"]:
        beside = by_name.get((row["group"], row["name"]))
        share = f"{row['bound'] / row['times']['ours'][0]:.0%}".replace("%", " %") if row["bound"] else "–"
        lines.append(f"| {row['group']} | {row['name']} | {seconds(row['times']['ours'][0])} | {ratio(row, 'torch', row['goal'][0])} "
                     f"| {ratio(beside, 'torch', row['goal'][1])} | {against_numpy(row)} | {share} |")  # fmt: skip
        if missed(row, beside):
            misses.append(f"{row['group']} {row['name']}")
    double = []
    for row in two["rows"] if two else []:
        times, other = row["times"]["ours"], row["times"]["numpy" if row["group"] == "2 threads" else "torch"]
        if row["group"] == "2 threads":
            cells = [f"{other[k] / times[k]:.2f}×" for k in (0, 1)]
        else:
            cells = [f"{times[k] / other[k]:.2f}" for k in (0, 1)]
        double.append(f"| {row['group']} | {row['name']} | {seconds(times[0])} | {cells[0]} | {seconds(times[1])} | {cells[1]} |")
    fused = [f"{r['name'].split()[0]} {ratio(r, 'torch, fused Adam')}" for r in one["rows"] if "torch, fused Adam" in r["times"]]
    notes = HERE / "kernels" / "notes.md"
    total = f"{len(one['rows'])} rows, {len(misses)} of them miss a goal" + (f": {'; '.join(misses)}." if misses else ".")
    return PAGE.format(
        date=time.strftime("%Y-%m-%d"), machine=f"{one['roof']['machine']} {platform.release()}", rounds=options.rounds,
        versions=f"Python {platform.python_version()}, NumPy {version('numpy')}, PyTorch {version('torch')}",
        compiler=one["roof"]["kernels"].partition("native: ")[2].rpartition("(")[2].rstrip(")") or one["roof"]["kernels"],
        library="" if fast else f" (not here: {why})", peak=max(one["roof"]["peaks"].values()) / 1e9,
        bandwidth=one["roof"]["bandwidth"] / 1e9, one="\n".join(lines), two="\n".join(double),
        processors=os.cpu_count(), load=two["load"] if two else "not measured",
        steps=total + (f" Beside PyTorch's fused Adam, which is not its default: {', '.join(fused)}." if fused else ""),
        notes=notes.read_text(encoding="utf-8").rstrip() if notes.exists() else "",
    ).rstrip() + "\n"  # fmt: skip


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=25, help="samples of each contender (default: 25)")
    arguments.add_argument("--only", nargs="+", metavar="TEXT", help="rows whose group or name has one of these in it")
    arguments.add_argument("--to", type=Path, default=HERE / "tensor_core.md")
    arguments.add_argument("--worker", choices=list(COMPARED), help=argparse.SUPPRESS)
    arguments.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    harness.refuse()
    if options.worker:
        worker(options)
        return
    with harness.temporary_folder() as folder:
        library, why = harness.avx512_library(folder)
        one = measured("default", 1, options, folder)
        fast = measured("avx512", 1, options, folder, library) if library else None
        two = measured("threads", 2, options, folder) if (os.cpu_count() or 1) > 1 else None
    options.to.write_text(page(options, one, fast, two, why), encoding="utf-8")
    print(options.to.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
