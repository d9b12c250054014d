"""Run every milestone over many seeds, and those runs that must fail, and write calibration.md.

    .venv/bin/python milestones/calibrate.py [NAME ...] [--seeds 30] [--wrong 10]

With names, such as cnn, the sections of the others stay as they are.

The gates themselves are typed in the scripts, after a look at this table: on the right side of every seed, and on the wrong
side of every run that must fail. A gate that is a theorem needs neither.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import time
from pathlib import Path

import tinytorch as tt
from mlsysbook.milestones import CONTROLS, find, load, milestones

HERE = Path(__file__).resolve().parent
STUBBED = "backward does nothing"


@contextlib.contextmanager
def stubbed_backward():
    """Tensor.backward returns without having done anything."""
    tt.no_grad                          # loads autograd, which defines it  # noqa: B018
    right, tt.Tensor.backward = tt.Tensor.backward, lambda self, *a, **k: None
    try:
        yield
    finally:
        tt.Tensor.backward = right


def wrong_runs(script):
    """Names of the runs of a script that must fail."""
    return [*CONTROLS, *([STUBBED] if ".backward()" in Path(script["__file__"]).read_text(encoding="utf-8") else [])]


def measure(path, seed, wrong=None):
    """One run -> what it measured, seconds, and the gates that it failed."""
    script, begun = load(path), time.monotonic()
    with stubbed_backward() if wrong == STUBBED else contextlib.nullcontext():
        measured = script["run"](seed, **CONTROLS.get(wrong, {})).values
    return measured, time.monotonic() - begun, [g.measure for g in script["GATES"] if not g.holds(measured[g.measure])]


def section(pool, milestone, seeds, wrong):
    script = load(milestone.path)
    kinds = wrong_runs(script)
    right = pool.starmap(measure, [(milestone.path, seed) for seed in range(seeds)])
    bad = {kind: pool.starmap(measure, [(milestone.path, seed, kind) for seed in range(wrong)]) for kind in kinds}
    yield f"## {milestone.title}"
    yield ""
    yield (f"{seeds} seeds, {sum(not failed for _, _, failed in right)} passed. Runs that must fail, {wrong} seeds each: "
           + ", ".join(f"{kind} {sum(bool(failed) for _, _, failed in runs)} failed" for kind, runs in bad.items()) + ".")
    yield ""
    yield f"| measured | gate | least | median | most | margin | {' | '.join(kinds)} |"
    yield f"|---|---|---|---|---|---|{'---|' * len(kinds)}"
    for g in script["GATES"]:
        values = [measured[g.measure] for measured, _, _ in right]
        near = [f"{max((measured[g.measure] for measured, _, _ in bad[kind]), key=g.margin):.4g}" for kind in kinds]
        margin = "theorem" if g.exact else f"{min(map(g.margin, values)):.3g}"
        spread = " | ".join(f"{f(values):.4g}" for f in (min, statistics.median, max))
        yield f"| {g.measure} | {g} | {spread} | {margin} | {' | '.join(near)} |"
    yield ""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--seeds", type=int, default=30)
    options.add_argument("--wrong", type=int, default=10)
    given = options.parse_args()
    chosen = [find(HERE.parent, name) for name in given.names] or milestones(HERE.parent)
    _, *written = (HERE / "calibration.md").read_text(encoding="utf-8").split("\n## ")
    kept = {text.partition("\n")[0]: f"## {text.rstrip()}\n".splitlines() + [""] for text in written}
    lines = ["# Calibration of the milestones",
             "Written by `calibrate.py`. Least, median and most are over the seeds; margin is the distance of the worst seed from "
             "the gate. The last columns show, of the runs that must fail, the one that came nearest to this gate; a run fails by one "
             "gate or by several.", ""]
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for m in milestones(HERE.parent):
            if m in chosen:
                kept[m.title] = list(section(pool, m, given.seeds, given.wrong))
                print(*kept[m.title], sep="\n", flush=True)
            lines += kept.get(m.title, [])
    (HERE / "calibration.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
