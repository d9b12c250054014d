"""How long a lab takes to come up, and its panels to redraw. Writes labs.md.

    .venv/bin/python benchmarks/labs.py [--rounds 3]

First widget: a kernel is started and the solved lab run from its first cell until a panel is on the screen. Beside it, in turn,
a kernel that shows one slider and one empty figure: what Jupyter, ipywidgets and matplotlib take by themselves. Redraw: the
model, the figure and its PNG, processor time of this process, every control of a panel at each of its extremes.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import matplotlib

from mlsysbook import catalogue
from mlsysbook.answers import predict
from mlsysbook.labs import tracks
from mlsysbook.labs.explore import Explore

BARE = """import io, ipywidgets
from matplotlib.figure import Figure
figure = Figure()
figure.add_subplot()
figure.savefig(io.BytesIO(), format="png")
ipywidgets.VBox([ipywidgets.IntSlider()])"""
WIDGET = "application/vnd.jupyter.widget-view+json"


def first_widget(cells, folder):
    """Seconds from the start of a kernel in `folder` to the first widget that the cells show."""
    from jupyter_client import KernelManager

    manager, began = KernelManager(kernel_name="python3"), time.perf_counter()
    own = {"MLSYS_STUDENT": "ada", "MLSYS_DATA": str(folder / "data")}
    manager.start_kernel(cwd=str(folder), stderr=subprocess.DEVNULL, env=os.environ | own)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for source in cells:
            asked, idle = client.execute(source), False
            while not idle:
                message = client.get_iopub_msg(timeout=60)
                if message["parent_header"].get("msg_id") != asked:
                    continue
                content = message["content"]
                if message["msg_type"] == "error":
                    raise SystemExit(f"a cell fails: {content['ename']}: {content['evalue']}\n{source[:200]}")
                if WIDGET in content.get("data", {}):
                    return time.perf_counter() - began
                idle = message["msg_type"] == "status" and content["execution_state"] == "idle"
        raise SystemExit("no cell shows a widget")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def prepared(lab, folder, track):
    """The lab in a new folder, begun on a track -> sources of its code cells."""
    shutil.copytree(lab.source_dir, folder)
    course = json.loads((folder / catalogue.SIDECAR).read_text(encoding="utf-8"))["course"]
    predict.append(folder / predict.LOG, predict.genesis(course, lab.id, "ada"), tracks.ENTRY, track, "", "")
    cells = json.loads((folder / f"{lab.notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def redraw(panel, settings):
    """Milliseconds of processor time of one redraw."""
    began = time.thread_time()
    panel.png(panel.at(**settings))
    return 1e3 * (time.thread_time() - began)


def redraws(cells, folder):
    """Run the cells here -> how many panels there are, and the milliseconds of a redraw at each end of each of their controls."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        names, times = {"__name__": "__main__"}, []
        with contextlib.redirect_stdout(io.StringIO()):
            for source in cells:
                exec(compile(source, "<cell>", "exec"), names)
        panels = [v for v in names.values() if isinstance(v, Explore)]
        for panel in panels:
            panel.png(panel.at())  # the first one makes the figure
            for _, view in panel.corners():
                times.append(statistics.median(redraw(panel, view.settings) for _ in range(3)))
        return len(panels), times
    finally:
        os.chdir(here)


PAGE = """# Labs

`benchmarks/labs.py`, {date}. Machine: {machine}. {versions}.
Medians of {rounds} rounds in turn. Absolute times are this machine's, which had other work to do.

| lab | track | kernel to first widget | over a bare one | panels | redraw, median | slowest |
|---|---|---|---|---|---|---|
{rows}

A bare kernel that shows a slider and an empty figure takes {bare:.2f} s. A redraw is the model with the student's functions, the
figure and its PNG, in processor time, the median of three; the slowest is of all controls of all panels of a lab, each at both
of its ends. Once in some twenty redraws Python collects garbage, which adds about 50 ms and is not in the medians.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    matplotlib.use("Agg")
    sys.path = [p for p in sys.path if p != str(Path(__file__).parent)]  # mlsysim.py here is a benchmark
    labs = [a for a in catalogue.load().assignments if a.part == "labs"]
    with tempfile.TemporaryDirectory(prefix="mlsys-labs-") as base:
        os.environ |= {"MLSYS_STUDENT": "ada", "MLSYS_DATA": base}
        bare, widgets = [], {a.name: [] for a in labs}
        for n in range(options.rounds):
            bare.append(first_widget([BARE], Path(base)))
            for i, a in enumerate(labs):
                folder = Path(base) / f"{a.notebook}-{n}"
                widgets[a.name].append(first_widget(prepared(a, folder, tracks.TRACKS[i % 4]), folder))
        rows = []
        for i, a in enumerate(labs):
            track, folder = tracks.TRACKS[i % 4], Path(base) / f"{a.notebook}-drawn"
            panels, drawn = redraws(prepared(a, folder, track), folder)
            whole, alone = statistics.median(widgets[a.name]), statistics.median(bare)
            variants = json.loads((a.source_dir / catalogue.SIDECAR).read_text(encoding="utf-8"))["variants"]
            track = track if tracks.offered_by(variants) else "–"
            rows.append(f"| {re.sub('^Lab ', '', a.title)} | {track} | {whole:.2f} s | {whole / alone:.1f}× | {panels} | "
                        f"{statistics.median(drawn):.0f} ms | {max(drawn):.0f} ms |")
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in ("ipykernel", "ipywidgets", "matplotlib"))])
    machine = f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    options.to.write_text(PAGE.format(date=date.today(), machine=machine, versions=versions, rounds=options.rounds, rows="\n".join(rows),
                                      bare=statistics.median(bare)), encoding="utf-8")
    print(options.to.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
