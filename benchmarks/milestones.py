"""Time to result: the milestones' networks trained by TinyTorch and by PyTorch. Writes milestones.md.

    .venv/bin/python benchmarks/milestones.py [--rounds 3] [--only TEXT]

Both start from the same weights, take the same batches and as many steps at the same rates, ten steps of one and ten of the other in
turn, in one process. Counted is processor time of one thread, for training alone: what is drawn, placed and scored is the milestone's
own code for both. PyTorch is eager, with fused optimizers and scaled_dot_product_attention. On an AMD processor a second process
repeats it with MKL's AVX-512 path, as in tensor_core.py.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TINYTORCH_NUM_THREADS": "1"}

from kernels import harness

HERE = Path(__file__).resolve().parent
GOAL = 1.5


def measured(rounds, only):
    """{task: what is measured, its steps, scores and seconds of both, and ratios}, rounds of each, those with `only` in their name."""
    import torch
    from kernels.tasks import TASKS

    torch.set_num_threads(1)
    found = {}
    for name, (make, what) in TASKS.items():
        if only in name:
            runs = []
            for _ in range(rounds):
                task = make()
                runs.append(task.run())
            found[name] = {"what": what, "steps": len(task.batches), "scores": [float(score) for score in runs[0][1]],
                           "seconds": [statistics.median(times[who] for times, _ in runs) for who in (0, 1)],
                           "ratio": statistics.median(ours / theirs for (ours, theirs), _ in runs)}
            print(name, found[name], file=sys.stderr, flush=True)
    return found


def with_avx512(rounds):
    """The same in a process in which MKL takes its AVX-512 path -> ({task: as measured}, None), or ({}, why there is none)."""
    with harness.temporary_folder() as folder:
        library, reason = harness.avx512_library(folder)
        if reason:
            return {}, reason
        done = subprocess.run([sys.executable, __file__, "--rounds", str(rounds), "--json"], env=harness.environment(1, library),
                              check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout), None


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="of each task; the median counts")
    options.add_argument("--only", default="", metavar="TEXT", help="tasks with this in their name; writes nothing")
    options.add_argument("--json", action="store_true", help="write what was measured to standard output, and no table")
    given = options.parse_args()
    harness.refuse()
    found = measured(given.rounds, given.only)
    if given.json:
        print(json.dumps(found))
    if given.json or given.only:
        return
    other, reason = with_avx512(given.rounds)
    table = ["| task | steps | measured | TinyTorch | PyTorch | TinyTorch, s | PyTorch, s | ratio | ratio, AVX-512 |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, row in found.items():
        scores, seconds = (" | ".join(f"{value:{form}}" for value in row[key]) for key, form in (("scores", ".4g"), ("seconds", ".2f")))
        fast = f"{other[name]['ratio']:.2f}" if other else "–"
        table.append(f"| {name} | {row['steps']:,} | {row['what']} | {scores} | {seconds} | {row['ratio']:.2f} | {fast} |")
    ratios = [row["ratio"] for row in (*found.values(), *other.values())]
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    text = ["# Time to result, beside PyTorch", "",
            f"Written by `milestones.py` on {date.today()}: {cpu}, {os.cpu_count()} processors, of which one thread is used, "
            f"{platform.system()} {platform.release()}; Python {platform.python_version()}, NumPy {version('numpy')}, "
            f"PyTorch {version('torch')}. Load while it ran: {os.getloadavg()[1]:.1f}; processor time is counted, ten steps of each "
            "in turn, so that other work on the machine weighs on both alike.",
            "", f"Ratio: processor time of TinyTorch over that of PyTorch, median of {given.rounds}; the goal is at most {GOAL}. "
            f"{sum(ratio <= GOAL for ratio in ratios)} of {len(ratios)} hold.", "", *table, "",
            "Same starting weights, batches, rates and number of steps, in one process. The two start within 1e-4 of each other and drift "
            "apart by rounding, so their results differ in the last digits. Training alone is counted. PyTorch is eager, with fused "
            "optimizers and scaled_dot_product_attention. "
            + (f"There is no column for AVX-512: {reason}." if reason else
               "AVX-512: in a process of its own, in which MKL takes the path that it does not take by itself on this processor."), ""]
    (HERE / "milestones.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
