"""All TinyTorch modules built, released, and graded right and empty: what that takes of two processors. Writes modules.md.

    .venv/bin/python benchmarks/modules.py [--jobs 2] [--limit 480]

In a scratch copy of the course with nothing built and an empty cache of compiled kernels, as commands in processes of their
own: `mlsys build`, `mlsys class release`, `mlsys class grade`. Submissions are the reference and the notebook as released, run
in the box. Wall seconds hang on what else the machine does, so processor seconds of every process below stand beside them:
divided by the processes they are the least that it takes. Exit status 1 if the round trip is not right, or if that is over the limit.
"""

import sys

sys.path.pop(0)  # this folder, where `import mlsysim` would find a benchmark

import argparse
import contextlib
import ctypes
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil

from mlsysbook import catalogue, demo
from mlsysbook.grading.classroom import Classroom
from mlsysbook.grading.grade import read_record

MLSYS = Path(sys.executable).parent / "mlsys"
PR_SET_CHILD_SUBREAPER = 36             # Source: prctl.h of Linux
STUDENTS = {"perfect": demo.perfect, "empty": demo.empty}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--limit", type=float, default=480.0, help="processor seconds divided by the processes")
    arguments.add_argument("--to", type=Path, default=Path(__file__).with_suffix(".md"))
    options = arguments.parse_args()
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):     # else a process whose parent is gone is nobody's, and not counted
        sys.exit("prctl: cannot adopt processes whose parents ended; this needs Linux")
    with tempfile.TemporaryDirectory(prefix="mlsys-bench-") as place:
        place = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        course = scratch(place / "course")
        modules = [a for a in course.assignments if a.part == "tinytorch"]
        os.environ["MLSYS_COURSE"] = str(course.root)
        names = [a.name for a in modules]
        steps = [("build", *spent([MLSYS, "build", *names], course.root))]
        room = Classroom.new(place / "class", course_id="bench", exchange=str(place / "exchange"), check_owner=False)
        steps.append(("release", *spent([MLSYS, "class", "release", *names], room.root)))
        for a in modules:
            hand_in(course, room, a)
        steps.append(("grade", *spent([MLSYS, "class", "grade", *names, "--jobs", str(options.jobs)], room.root)))
        records = {a: {student: read_record(room, a.id, student) for student in STUDENTS} for a in modules}
    wrong = [f"{a.name}, {student}: {r['score']:g} of {a.points:g}" for a, of in records.items() for student, r in of.items()
             if r["score"] != (by_box(a, r) if student == "perfect" else 0)]
    options.to.write_text(page(options, steps, records), encoding="utf-8")
    print(options.to.read_text(encoding="utf-8"))
    if wrong:
        sys.exit("not the points that the reference and the empty notebook have: " + "; ".join(wrong))
    if sum(cpu for _, _, cpu in steps) / options.jobs > options.limit:
        sys.exit(f"over {options.limit:g} s")


def by_box(a, record):
    """Points of an assignment without those that a person gives."""
    return a.points - sum(i["points"] for i in record["items"] if i["score"] is None)


def scratch(root):
    """A copy of the course's sources with nothing built -> Course."""
    own = catalogue.load()
    shutil.copytree(own.root / "modules", root / "modules", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(own.root / "course.yml", root / "course.yml")
    return catalogue.load(root)


def hand_in(course, room, a):
    for student, work in STUDENTS.items():
        folder = room.submitted(student, a.id)
        shutil.copytree(room.root / "release" / a.id, folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
        desk = demo.Desk(course, a, student, folder)
        work(desk)
        desk.save()


def spent(command, folder):
    """Run a command -> (wall seconds, processor seconds of all processes below it).

    The system tells the sum of those that somebody waited for. A box is killed with all in it, which nobody waits for, so what is
    in one is looked at ten times a second.
    """
    before, boxed, over = resource.getrusage(resource.RUSAGE_CHILDREN), {}, threading.Event()
    watcher = threading.Thread(target=watch, args=(boxed, over))
    began = time.monotonic()
    watcher.start()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    wall = time.monotonic() - began
    over.set()
    watcher.join()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + sum(boxed.values())
    print(f"{command[1]} {command[2]}: {wall:.1f} s, {cpu:.1f} s of processors", flush=True)
    return wall, cpu


def watch(boxed, over):
    """Keep {process and its start: processor seconds of it and of its ended children} of what bubblewrap runs, until over is set."""
    here = psutil.Process()
    while not over.wait(0.1):
        below = {p.pid: p for p in here.children(recursive=True)}
        for p in below.values():
            with contextlib.suppress(psutil.Error):         # it ended meanwhile
                parent = below.get(p.ppid())
                if parent and parent.name() == "bwrap" != p.name():
                    boxed[p.pid, p.create_time()] = sum(p.cpu_times()[:4])


PAGE = """# All TinyTorch modules, from source to graded

`benchmarks/modules.py`, {today}: {n} modules built from nothing, released, and graded in the box with {jobs} processes, the reference
(full marks) and the notebook as released (none), empty cache of compiled kernels. Machine: {machine}; load
average before it {load:.1f}. {versions}.

| step | wall, s | processor, s |
|---|---|---|
{steps}

Divided by {jobs} processors: **{each:.0f} s**, of {limit:.0f} s that the round trip may take.

| module | reference, s | empty, s |
|---|---|---|
{rows}

Seconds of a submission are wall time in its process, from the vetted file to the judged record, while another one ran beside it.
"""
LOAD = os.getloadavg()[0]


def page(options, steps, records):
    """The tables, with the machine they were made on."""
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    total = ("all", sum(w for _, w, _ in steps), sum(c for _, _, c in steps))
    packages = ("nbgrader", "numpy", "Cython")
    return PAGE.format(
        today=f"{date.today():%B %Y}", n=len(records), jobs=options.jobs, load=LOAD, limit=options.limit, each=total[2] / options.jobs,
        machine=f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        versions=", ".join([f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]),
        steps="\n".join(f"| {name} | {wall:.1f} | {cpu:.1f} |" for name, wall, cpu in (*steps, total)),
        rows="\n".join(f"| {a.notebook} | {of['perfect']['seconds']:.1f} | {of['empty']['seconds']:.1f} |" for a, of in records.items()))


if __name__ == "__main__":
    main()
