"""One simulated event for all tests of this folder, run the hard way: killed half-way, and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mlsysbook.box import library
from mlsysbook.errors import BoxError
from mlsysbook.olympics import event as events
from mlsysbook.olympics import measure, package, simulate, task, tracks


@pytest.fixture(scope="session", autouse=True)
def box():
    from mlsysbook.box import command

    try:
        command.probe()
    except BoxError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no box here: {error}")


@pytest.fixture(scope="session")
def staged(box):
    folder = library.stage_event()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def world(staged):
    """The practice task, and the tiny track's reference with its model."""
    made, track = task.practice(), tracks.find("tiny")
    ref = measure.reference(track)
    return made, track, ref, measure.build(ref, track, made, staged)[0]


@pytest.fixture
def brief(monkeypatch):
    """One start of few turns: enough to see that something is found, not to rank by."""
    monkeypatch.setattr(measure, "STARTS", 1)
    monkeypatch.setattr(measure, "TURNS", 8)


@pytest.fixture
def entry(tmp_path):
    """Makes an entry on the tiny track: the starter, with this code after it."""
    def make(code="", manifest=()):
        folder = tmp_path / f"entry{len(list(tmp_path.iterdir()))}"
        package.new(folder, "tiny", "Some Team")
        with open(folder / "entry.py", "a") as f:
            f.write(code)
        text = (folder / package.MANIFEST).read_text()
        for old, new in manifest:
            text = text.replace(old, new, 1)
        (folder / package.MANIFEST).write_text(text)
        return folder

    return make


def processes(place):
    """Host processes that serve an entry for a run whose temporary files are in `place`: other tests may serve entries meanwhile."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read()
            if b"/course/lib/mlsysbook/olympics/inside.py" not in line:
                continue
            with open(f"/proc/{pid}/mountinfo", "rb") as f:
                line += f.read()
        except OSError:
            continue
        if place.name.encode() in line:
            found.append(int(pid))
    return found


@pytest.fixture(scope="session")
def simulated(box, tmp_path_factory):
    """-> (event, {id: what was handed in}, the lines that there were when the run was killed, processes that it left behind)."""
    folder = tmp_path_factory.mktemp("olympics") / "event"
    event, handed = simulate.make(folder, 8)
    place, served = Path(tempfile.mkdtemp(prefix="mlsys-killed-")), set()
    place.chmod(0o755)                                              # the box's user passes through
    run = subprocess.Popen([sys.executable, "-c", "from mlsysbook.cli import main; main()", "olympics", "run", str(folder)],
                           stdout=subprocess.DEVNULL, start_new_session=True, env=os.environ | {"TMPDIR": str(place)})
    until = time.monotonic() + 600
    while time.monotonic() < until and run.poll() is None and not any(line["step"] == "measured" for line in event.lines()):
        served.update(processes(place))
        time.sleep(0.02)
    assert served, "no process that serves an entry was seen"
    assert run.poll() is None, "it ended before it could be killed"
    run.send_signal(signal.SIGKILL)
    run.wait()
    killed = (folder / events.RESULTS).read_text()
    with open(folder / events.RESULTS, "a") as f:
        f.write('{"entry": "0001-tie-one", "step": "disqual')       # cut off in the middle of a line
    until = time.monotonic() + 60
    while (left := set(processes(place))) and time.monotonic() < until:
        time.sleep(0.05)
    shutil.rmtree(place)
    events.run(event, jobs=2)
    return event, handed, [json.loads(row) for row in killed.splitlines()], left
