"""Grading beside stock nbgrader: the same submissions, whole processes, in turn. Writes grading.md.

    .venv/bin/python benchmarks/grading.py [--submissions 60] [--rounds 2]

small: the KV-cache drill, solved; nearly all the time is start-up. heavy: a notebook whose student code computes in pure
Python. Stock is `nbgrader autograde` with nbgrader's own configuration: it runs the notebooks in a kernel and judges nothing.
Ours is `mlsys class grade`: vetted, boxed, judged on hidden cases.
"""

import sys

sys.path.pop(0)  # this folder, where `import mlsysim` would find a benchmark

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import psutil

from mlsysbook import catalogue, demo
from mlsysbook.build import build
from mlsysbook.grading import release, roster
from mlsysbook.grading.classroom import Classroom

BIN = Path(sys.executable).parent
HEAVY = '''# %% [markdown]
# # Heavy

# %%
from mlsysbook import case, check

# %% solution="collatz"
def collatz(limit):
    """The start below `limit` with the longest chain."""
    ### BEGIN SOLUTION
    best, longest = 1, 0
    for start in range(1, limit):
        n, steps = start, 0
        while n != 1:
            n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
        if steps > longest:
            best, longest = start, steps
    return best
    ### END SOLUTION

# %% show
print(collatz(180_000))

# %% check="collatz" points=5
check("collatz", [case(10), case(30)])

# %% hidden="collatz"
def cases(rng):
    for n in rng.integers(100, 900, 4):
        yield case(int(n), behaviour="any limit")
'''


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--submissions", type=int, default=60)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--to", type=Path, default=Path(__file__).with_suffix(".md"))
    options = arguments.parse_args()
    course = catalogue.load()
    with tempfile.TemporaryDirectory(prefix="mlsys-bench-") as place:
        place = Path(place)
        heavy = heavy_course(place / "course")
        rows = [compare("small", course, "drills/kv_cache", place, options), compare("heavy", heavy, "tinytorch/90_heavy", place, options)]
        builds = [timed([BIN / "mlsys", "build"], course.root)[0] for _ in range(5)]
    options.to.write_text(page(options, rows, builds), encoding="utf-8")
    print(options.to.read_text(encoding="utf-8"))


def heavy_course(root):
    folder = root / "modules" / "tinytorch" / "90_heavy"
    folder.mkdir(parents=True)
    (folder / "90_heavy.py").write_text(HEAVY)
    (root / "course.yml").write_text("id: bench\ntitle: Bench\nassignments:\n  - {name: tinytorch/90_heavy, title: Heavy, points: 5}\n")
    course = catalogue.load(root)
    build(course, course.assignments)
    return course


def compare(title, course, name, place, options):
    """Seconds of both, round by round, on two copies of one class."""
    a = course.find(name)
    os.environ["MLSYS_COURSE"] = str(course.root)
    ours = Classroom.new(place / title / "ours", course_id="bench", exchange=str(place / title / "exchange"), check_owner=False)
    people = [f"s{i:03}" for i in range(options.submissions)]
    roster.apply(ours, [{"id": p, "first_name": "", "last_name": "", "email": ""} for p in people])
    with ours.at_work():
        release.release(ours, course, [a])
    for person in people:
        folder = ours.submitted(person, a.id)
        shutil.copytree(ours.root / "release" / a.id, folder)
        desk = demo.Desk(course, a, person, folder)
        desk.solve()
        desk.save()
    stock = place / title / "stock"
    shutil.copytree(ours.root, stock)
    shutil.rmtree(stock / ".mlsys")
    (stock / "class.yml").unlink()
    (stock / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "bench"\n')
    seconds = {"stock": [], "ours": []}
    peaks = {"stock": 0, "ours": 0}
    for _ in range(options.rounds):
        for which, folder, command in (("stock", stock, [BIN / "nbgrader", "autograde", a.id, "--force"]),
                                       ("ours", ours.root, [BIN / "mlsys", "class", "grade", name, "--force"])):
            took, peak = timed(command, folder)
            seconds[which].append(took)
            peaks[which] = max(peaks[which], peak)
            print(f"{title}: {which} {took:.1f} s, peak {peak / 2**20:.0f} MiB", flush=True)
    points = [json.loads(p.read_text())["score"] for p in (ours.root / ".mlsys" / "graded" / a.id).glob("*.json")]
    assert points == [a.points] * options.submissions, "every solution must have full marks"
    return title, seconds, peaks


def timed(command, folder):
    """(wall seconds of a whole process, peak proportional set size of it and its children in bytes)."""
    peak, over = [0], threading.Event()
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env=os.environ | {"PATH": f"{BIN}:/usr/bin:/bin"})
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, over))
    watcher.start()
    said = process.stderr.read().decode("utf-8", "replace")
    status = process.wait()
    took = time.monotonic() - started
    over.set()
    watcher.join()
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{said[-2000:]}")
    return took, peak[0]


def _watch(pid, peak, over):
    while not over.wait(0.25):
        total = 0
        try:
            for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                try:
                    total += p.memory_full_info().pss
                except psutil.Error:
                    continue
        except psutil.Error:
            return
        peak[0] = max(peak[0], total)


PAGE = """# Grading, beside stock nbgrader

`benchmarks/grading.py`: {n} submissions, wall seconds of whole processes, run in turn; the median of {rounds} rounds, all in
brackets. Machine: {machine}. {versions}.

| notebooks | `nbgrader autograde` | `mlsys class grade` | ratio | a submission, ours | peak memory, stock | peak memory, ours |
|---|---|---|---|---|---|---|
{rows}

*small*: the KV-cache drill, solved; stock spends its time on kernels that start and stop. *heavy*: a notebook whose student
code computes in pure Python, {heavy:.2f} s more of stock's time a submission; two cores can at most halve that part.
Stock runs the cells and believes what they say; ours also vets the file, closes the box, runs hidden cases and judges them outside.

Memory is the proportional set size of all processes, sampled four times a second. Ours holds one submission a core at a time, each
within the limits of its box (2 GiB unless course.yml says otherwise), so it does not grow with the class.

`mlsys build` of all assignments, warm: {build:.2f} s (median of {builds} whole processes).
"""


def page(options, rows, builds):
    """The table, with the machine it was made on."""
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    lines = []
    for title, seconds, peaks in rows:
        mid = {k: statistics.median(v) for k, v in seconds.items()}
        stock, ours = (f"{mid[k]:.1f} ({', '.join(f'{s:.1f}' for s in seconds[k])})" for k in ("stock", "ours"))
        lines.append(f"| {title} | {stock} | {ours} | **{mid['stock'] / mid['ours']:.1f}×** | {mid['ours'] / options.submissions:.2f} s "
                     f"| {peaks['stock'] / 2**20:.0f} MiB | {peaks['ours'] / 2**20:.0f} MiB |")
    packages = ("nbgrader", "nbclient", "ipykernel", "numpy")
    alone = {title: statistics.median(seconds["stock"]) for title, seconds, _ in rows}
    return PAGE.format(
        heavy=(alone["heavy"] - alone["small"]) / options.submissions,
        n=options.submissions, rounds=options.rounds, rows="\n".join(lines), build=statistics.median(builds), builds=len(builds),
        machine=f"{cpu}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} {platform.release()}",
        versions=", ".join([f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]))


if __name__ == "__main__":
    main()
