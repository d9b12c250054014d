"""A small lab on two tracks, written into a folder as a course of its own; any lab run as plain Python, and graded."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np

from mlsysbook import catalogue
from mlsysbook.answers import predict
from mlsysbook.answers.check import run_case, verdict
from mlsysbook.build.reference import load
from mlsysbook.build.student import student_copy
from mlsysbook.grading.submission import grade_submission
from mlsysbook.labs import tracks

COURSE = '''id: small
title: Small
assignments:
  - name: labs/queue
    title: "Lab: a queue"
    points: 11
    minutes: 5
    limits: {cell_seconds: 10, check_seconds: 10, total_seconds: 60}
'''

SOURCE = '''# %% [markdown]
# # A queue

# %%
from mlsysbook import answer, predict, reveal, scenario, variant

# %% variants
def pool():
    for n in range(2, 22):
        for track, each in (("cloud", 0.02), ("tiny", 0.3)):
            yield {"track": track, "arrivals": round(0.045 * n / each, 6)}

# %%
here = scenario(
    cloud={"title": "A card", "story": "Requests come to a card.", "service": "20 ms"},
    tiny={"title": "A chip", "story": "Sounds come to a chip.", "service": "0.3 s"},
)
here

# %%
mine = variant()

# %% predict="wait" points=2 unit="s"
# predict("wait", "... ms", low="... ms", high="... ms")
### BEGIN SOLUTION
load = mine["arrivals"] * here.si("service")
wait = load * here.si("service") / (1 - load)
predict("wait", f"{wait:.9g} s", low=f"{wait:.9g} s", high=f"{wait:.9g} s")
### END SOLUTION

# %% key="wait"
def key(v):
    service = here.of(v["track"]).si("service")
    return Key(v["arrivals"] * service**2 / (1 - v["arrivals"] * service), "s")

# %% answer="load" points=2
load = ""
### BEGIN SOLUTION
load = f"{mine['arrivals'] * here.si('service'):.9g}"
### END SOLUTION

# %% key="load"
def key(v):
    return Key(v["arrivals"] * here.of(v["track"]).si("service"), "", tol=0.001)

# %% answer="work" points=2
work = ""
### BEGIN SOLUTION
work = f"{here.si('service'):.9g} s"
### END SOLUTION

# %% key="work"
def key(v):
    return Key(here.of(v["track"]).si("service"), "s", tol=0.001)
'''

DECISION = '''
# %% answer="gaps" points=1
gaps = ""
### BEGIN SOLUTION
gaps = f"{1 / mine['arrivals']:.9g} s"
### END SOLUTION

# %% key="gaps"
def key(v):
    return Key(1 / v["arrivals"], "s", tol=0.001)

# %% decision="plan" points=4
# plan = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
plan = decision(
    claim="One more server halves the load of each",
    binding="arrivals",
    evidence=("load", "work", "gaps"),
    rejected="A faster clock alone would heat it",
    risk="Requests may come in bursts after all",
)
### END SOLUTION

# %% key="plan"
def key(v):
    return Decision("arrivals", ("arrivals", "service", "memory"), {"service": "The service time is fixed by the chip."})
'''


def make(root, source=SOURCE, points=6):
    """Write the course into `root` and build it -> (course, assignment)."""
    from mlsysbook.build import build

    folder = root / "modules" / "labs" / "queue"
    folder.mkdir(parents=True)
    (folder / "queue.py").write_text(source)
    (root / "course.yml").write_text(COURSE.replace("points: 11", f"points: {points}"))
    course = catalogue.load(root)
    build(course, course.assignments)
    return course, course.find("labs/queue")


RUN = """
import json, sys
names = {"__name__": "__main__"}
for c in json.load(open(sys.argv[1]))["cells"]:
    if c["cell_type"] == "code":
        text = "".join(c["source"])
        exec(compile(text, c["id"], "exec"), names)
        last = text.strip().splitlines()[-1]
        if last.isidentifier():
            print(repr(names[last]))
from mlsysbook.labs.explore import Explore
print("IDLE", {name: v.idle() for name, v in names.items() if isinstance(v, Explore)})
"""


def begin(assignment, folder, student, track):
    """The student has begun the lab in this folder on a track, if it has tracks."""
    if track is not None:
        course = json.loads((folder / catalogue.SIDECAR).read_text())["course"]
        predict.append(folder / predict.LOG, predict.genesis(course, assignment.id, student), tracks.ENTRY, track, "", "")


def run_plain(assignment, folder, student, track, variant=None, change=lambda text: text, data=None):
    """Run the solved notebook as plain Python for a student on a track -> what it printed. `folder` is new.

    variant: the parameters that the student has, instead of those that are theirs. change(text) -> text of the notebook.
    data: where the student's ledger is, if there is one already.
    """
    shutil.copytree(assignment.source_dir, folder)
    sidecar = folder / catalogue.SIDECAR
    baked = json.loads(sidecar.read_text())
    if variant is not None:
        sidecar.write_text(json.dumps(baked | {"variants": [variant]}))
    begin(assignment, folder, student, track)
    path = folder / f"{assignment.notebook}.ipynb"
    path.write_text(change(path.read_text()))
    env = os.environ | {"MPLBACKEND": "Agg", "MLSYS_STUDENT": student, "MLSYS_DATA": str(data or folder / "data")}
    done = subprocess.run([sys.executable, "-c", RUN, f"{assignment.notebook}.ipynb"], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


REGION = re.compile(r"[ ]*### (BEGIN|END) SOLUTION\n?")


def solved(assignment, change=lambda cell, text: text):
    """The notebook as a student with the solutions would hand it in -> dict. change(cell, text) -> text of a cell."""
    nb = json.loads(assignment.notebook_path.read_text())
    for c in nb["cells"]:
        c["source"] = change(c, REGION.sub("", "".join(c["source"])))
    return nb


def grade_lab(assignment, staged, folder, entries, nb=None, edit=lambda text: text):
    """Grade what ada hands in -> (record, notebook). entries of her log; nb: None is the notebook as released; edit: of the log's text."""
    path = student_copy(assignment, folder / "ada")
    if nb is not None:
        path.write_text(json.dumps(nb))
    log = path.parent / predict.LOG
    for entry in entries:
        predict.append(log, predict.genesis(MLSYS.id, assignment.id, "ada"), *entry)
    if log.is_file():
        log.write_text(edit(log.read_text()))
    return grade_submission(str(MLSYS.root), assignment.name, "ada", path.parent, secret=b"s" * 32, library=staged)


def errors(nb):
    """What failed in a graded notebook."""
    return [o["evalue"] for c in nb["cells"] for o in c.get("outputs", ()) if o["output_type"] == "error"]


MLSYS = catalogue.load()


@functools.cache
def reference(name):
    """The lab of that name, loaded with the pool that was built."""
    a = MLSYS.find(name)
    return load(MLSYS, a, pool=json.loads((a.source_dir / catalogue.SIDECAR).read_text())["variants"])


def failing(ref, name, function, seed):
    """Behaviours of check `name` that `function` gets wrong -> set of their numbers in the order of the hidden cases."""
    cases = ref.hidden_cases(name, np.random.default_rng(seed))
    wants = ref.outcomes(name, cases)
    names = list(dict.fromkeys(c.behaviour for c in cases))
    return {names.index(c.behaviour) for c, want in zip(cases, wants, strict=True)
            if verdict(ref.checks[name], c, run_case(function, c), want) is not None}
