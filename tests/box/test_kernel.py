"""The box with a real Jupyter kernel inside: widgets, limits, attacks on the kernel, and the same verdicts as without one."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mlsysbook import catalogue
from mlsysbook.answers.check import case
from mlsysbook.answers.record import decode
from mlsysbook.box import command
from mlsysbook.box.kernel import KernelSession
from mlsysbook.box.library import stage
from mlsysbook.box.limits import Limits
from mlsysbook.box.session import CellSource, Session

pytestmark = pytest.mark.slow           # a kernel starts in half a second, and most tests want one
ROOT = Path(__file__).resolve().parents[2]
DEFINE = "from mlsysbook import answer, case, check\ndef f(x): return x + 1"


@pytest.fixture(scope="module")
def library():
    course = catalogue.load(ROOT)
    folder = stage(course, course.assignments[0])
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "data.txt").write_text("42\n")
    return tmp_path


def cell(source):
    return CellSource(source)


def graded(source, *hidden):
    return CellSource(source, True, [h.encoded() for h in hidden], list(range(1 + len(hidden))))


def check(name, *hidden):
    return graded(f"check({name!r}, [case(1)])", *hidden)


def text(outcome, i, name="stdout"):
    return "".join(o["text"] for o in outcome.outputs.get(i, []) if o.get("name") == name)


def errors(outcome):
    return {i: [o["ename"] for o in outs if o["output_type"] == "error"] for i, outs in outcome.outputs.items()}


def values(record):
    return [decode(r["out"]) for r in record["results"]]


WIDGET = """
import ipywidgets as widgets
from mlsysbook import case, check

slider = widgets.IntSlider(value=3, max=50)
seen = []
slider.observe(lambda change: seen.append((change["old"], change["new"])), names="value")
"""
MOVES = """
def moves(*to):
    del seen[:]
    for value in to:
        slider.value = value
    return [slider.value, [list(pair) for pair in seen]]

check("moves", [case(5, 8)], call=moves)
"""


def test_a_slider_and_its_callback_are_graded_and_shown_as_text(library, files):
    cells = [cell(WIDGET), cell("slider"), cell("slider.value = 4\nlen(seen)"), graded(MOVES, case(60), case(4, 7, 7))]
    o = KernelSession(library).run(cells, files, "ada")
    assert (o.ended, o.flags, o.notes) == ("finished", [], {})
    assert values(o.records[3]) == [[8, [[4, 5], [5, 8]]], [50, [[8, 50]]], [7, [[50, 4], [4, 7]]]]
    assert o.outputs[1][0]["data"] == {"text/plain": "IntSlider(value=3, max=50)"}
    assert o.outputs[2][0]["data"] == {"text/plain": "1"}


def test_a_kernel_has_what_a_plain_process_has_not(library, files):
    o = KernelSession(library).run([
        cell("import asyncio\nawait asyncio.sleep(0.01)\nprint(get_ipython().kernel.implementation)"),
        cell("from IPython.display import clear_output\nprint('gone'); clear_output(wait=True); print('kept')"),
        cell("handle = display('first', display_id=True)\nhandle.update('second')"),
        cell("print('\\x1b[31mred\\x1b[0m'); display({'text/html': '<script>x</script>', 'text/plain': 'inert'}, raw=True)"),
        cell("!echo from a shell"),
        cell("import os\npid = os.fork()\nif pid == 0:\n    print('from a fork')\n    os._exit(0)\nos.waitpid(pid, 0)[1]"),
    ], files, "ada")
    assert o.ended == "finished" and errors(o) == {i: [] for i in range(6)}
    assert [text(o, i) for i in (0, 1, 3, 4, 5)] == ["ipython\n", "kept\n", "red\n", "from a shell\n", "from a fork\n"]
    assert [d["data"] for d in o.outputs[2]] == [{"text/plain": "'second'"}]
    assert o.outputs[3][1]["data"] == {"text/plain": "inert"}
    assert {k for outs in o.outputs.values() for d in outs for k in d.get("data", {})} <= {"text/plain", "image/png"}


def test_a_figure_is_shown_as_png(library, files):
    o = KernelSession(library).run([cell("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()")], files, "ada")
    assert errors(o) == {0: []}
    assert [set(d["data"]) for d in o.outputs[0]] == [{"image/png", "text/plain"}]


AGREE = {
    "right": [cell(DEFINE), check("f", case(7), case(-1))],
    "each check sees the notebook as it was there": [
        cell(DEFINE), check("f"), cell("def f(x): return -x"), check("f"), cell("del f"), check("f")],
    "globals that change": [cell(DEFINE + "\nk = 1\ndef g(x): return k + x"), check("g"), cell("k = 9"), check("g"), cell("k = 0")],
    "raises": [cell("from mlsysbook import case, check\ndef f(x): raise ValueError('no')"), check("f")],
    "an error and a cell after it": [cell(DEFINE), cell("1 / 0"), cell("print('still here')"), check("f")],
    "not Python": [cell(DEFINE), cell("def f(:"), check("f")],
    "recursion": [cell(DEFINE), cell("def f(x): return f(x)"), check("f")],
    "arguments changed": [cell(DEFINE + "\ndef g(x): x.append(1)"), graded("check('g', [case([])])", case([2]))],
    "arrays": [cell(DEFINE + "\nimport numpy as np\ndef g(x): return np.arange(3.0) * x"), check("g", case(0.5))],
    "files beside the notebook": [cell(DEFINE + "\ndef g(x): return open('data.txt').read()"), check("g")],
    "files written": [cell(DEFINE + "\nopen('mine.txt', 'w').write('a')\ndef g(x): return open('mine.txt').read()"), check("g")],
    "answers": [cell(DEFINE), graded("answer('a', '3 GB')"), graded("answer('b', 7)"), graded("answer('c', [1])")],
    "a check that fails to run": [cell(DEFINE), graded("1 / 0"), graded("check("), check("f")],
    "leaves": [cell(DEFINE + "\nimport sys\ndef f(x): sys.exit(3)"), check("f"), cell("sys.exit(4)"), cell("print(5)")],
    "crashes in a check": [cell(DEFINE + "\nimport os\ndef g(x): os._exit(3)"), check("g"), check("f")],
    "asyncio in a check": [cell(DEFINE + "\nimport asyncio\nasync def one(x): return x\ndef g(x): return asyncio.run(one(x))"), check("g")],
    "classes and pickles": [
        cell(DEFINE + "\nimport pickle\nclass A: pass\ndef g(x): return type(pickle.loads(pickle.dumps(A()))).__name__"), check("g")],
    "magics": [cell(DEFINE), cell("%time f(1)\nprint('timed')"), check("f")],
    "as the student sees it": [cell(DEFINE), CellSource("print('seen')\nassert f(1) == 3, 'not three'", True, visible=True)],
    "who": [cell(DEFINE + "\nfrom mlsysbook.answers.identity import identity\ndef g(x): return identity()"), check("g")],
    "patched": [cell(DEFINE + "\nimport numpy as np\nnp.allclose = lambda *a, **k: True"), check("f")],
    "no cells": [],
    "nothing graded": [cell("print(1)"), cell("2")],
}


def verdict(o):
    return {"records": {i: {k: v for k, v in r.items() if k != "seconds"} for i, r in o.records.items()}, "notes": o.notes,
            "ended": o.ended, "flags": o.flags, "errors": errors(o),
            "said": {i: re.sub(r"(CPU times|Wall time).*\n", "", text(o, i)) for i in o.outputs}}


@pytest.mark.parametrize("name", AGREE)
def test_a_kernel_and_the_runner_give_the_same_verdict(library, files, name):
    wanted = verdict(Session(library).run(AGREE[name], files, "ada"))
    assert verdict(KernelSession(library).run(AGREE[name], files, "ada")) == wanted


@pytest.mark.parametrize("loop", ["while True: pass", "import time\n    time.sleep(1000)",
                                  "import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n    while True: pass"])
def test_a_check_that_hangs_loses_only_itself(library, files, loop):
    begun = time.monotonic()
    cells = [cell(DEFINE + f"\ndef g(x):\n    {loop}"), check("f"), check("g"), check("f", case(4))]
    o = KernelSession(library, Limits(check_seconds=1)).run(cells, files, "ada")
    assert time.monotonic() - begun < 90
    assert o.notes == {2: "did not end within 1 s"}
    assert values(o.records[1]) == [2] and values(o.records[3]) == [2, 5]


NO_ROOM = "it could not be started: too many processes"
ENDS = {
    "exit": ("import os\nos._exit(0)", "it exited or crashed"),
    "crash": ("import ctypes\nctypes.string_at(0)", "it exited or crashed"),
    "its driver killed": ("import os\nos.kill(os.getppid(), 9)", "it exited or crashed"),
    "its descriptors closed": ("import os\nos.closerange(3, 250)", "it exited or crashed"),
    "its driver stopped": ("import os\nos.kill(os.getppid(), 19)", "did not stop when asked"),
    "deaf": ("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", "did not stop when asked"),
    "mute": ("get_ipython().kernel.session.send = lambda *a, **k: None", "did not stop when asked"),
    "its key changed": ("get_ipython().kernel.session.key = b'x'", "did not stop when asked"),
    "forks": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "did not"),
}


@pytest.mark.parametrize("name", [n if n != "forks" else pytest.param(n, marks=pytest.mark.slow) for n in ENDS])
def test_a_cell_that_ends_the_kernel_leaves_the_checks_before_it(library, files, name):
    source, why = ENDS[name]
    begun = time.monotonic()
    cells = [cell(DEFINE), check("f", case(6)), cell(source), check("f")]
    o = KernelSession(library, Limits(cell_seconds=1, total_seconds=20)).run(cells, files, "ada")
    assert time.monotonic() - begun < 90
    assert values(o.records[1]) == [2, 7] and 3 not in o.records
    assert any(f["kind"] == "limit" for f in o.flags)
    if name == "forks" and o.notes[3] == NO_ROOM:       # it stopped when asked, and its children left no room for the check
        return
    assert "cell 3" in o.ended and why in o.ended and o.notes[3] == o.ended


@pytest.mark.parametrize("source", ["while True: pass", "import asyncio\nawait asyncio.sleep(1000)"])
def test_a_cell_that_runs_too_long_is_interrupted_and_the_rest_goes_on(library, files, source):
    o = KernelSession(library, Limits(cell_seconds=1)).run([cell(DEFINE), cell(source), cell("print(2)"), check("f")], files, "ada")
    assert o.ended == "finished" and text(o, 2) == "2\n" and values(o.records[3]) == [2]
    assert {"kind": "limit", "note": "cell 2 ran longer than 1 s"} in o.flags


def test_a_cell_cut_short_while_it_floods_the_kernels_own_line_costs_no_check(library, files):
    """What the next cell shows may be lost: the interrupt can fall into the middle of a message of the kernel's."""
    flood = "while True:\n    get_ipython().kernel._publish_status('idle', 'shell')"
    o = KernelSession(library, Limits(cell_seconds=1)).run([cell(DEFINE), cell(flood), cell("print(2)"), check("f")], files, "ada")
    assert o.ended == "finished" and values(o.records[3]) == [2]
    assert {"kind": "limit", "note": "cell 2 ran longer than 1 s"} in o.flags


def test_exit_ends_its_cell_and_not_the_notebook(library, files):
    o = KernelSession(library).run([cell(DEFINE), cell("exit()"), cell("quit()"), cell("print(5)"), check("f")], files, "ada")
    assert o.ended == "finished" and errors(o)[1] == errors(o)[2] == ["SystemExit"]
    assert text(o, 3) == "5\n" and values(o.records[4]) == [2]


ALONE = """
import os, time
def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"
def alone(x):
    for _ in range(100):
        if not any(state(p) == "R" for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()):
            return True
        time.sleep(0.02)
    return False
"""


def test_a_kernel_that_was_cut_does_not_run_beside_the_checks(library, files):
    cells = [cell(DEFINE + ALONE), check("alone"), cell("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")]
    o = KernelSession(library, Limits(cell_seconds=1)).run(cells, files, "ada")
    assert "did not stop" in o.ended and values(o.records[1]) == [True]


def test_too_much_memory_ends_the_kernel_with_that_reason(library, files):
    cells = [cell(DEFINE), check("f"), cell("import time\nx = b'1' * (400 << 20)\ntime.sleep(20)"), check("f")]
    o = KernelSession(library, Limits(memory=300 << 20)).run(cells, files, "ada")
    assert 3 in o.notes and "memory" in o.notes[3] and "memory" in o.ended


@pytest.mark.slow
@pytest.mark.parametrize("source", ["for _ in range(500): print('x' * 10**6)", "import os\nfor _ in range(500): os.write(1, b'x' * 10**6)"])
def test_half_a_gigabyte_of_output_is_cut(library, files, source):
    o = KernelSession(library).run([cell(DEFINE), cell(source), check("f")], files, "ada")
    assert o.ended == "finished" and values(o.records[2]) == [2]
    assert 1_000 < len(text(o, 1)) < 110_000
    assert text(o, 1).endswith("bytes more are not shown]")


def test_outputs_are_bounded_however_they_are_made(library, files):
    o = KernelSession(library).run([
        cell("for i in range(2000): display(i)\n1 / 0"),
        cell("display({'text/plain': 'y' * (50 << 20), 'image/png': 'z' * (50 << 20), 'text/html': 'h' * (50 << 20)}, raw=True)"),
        cell("print(6)"),
    ], files, "ada")
    assert o.ended == "finished" and errors(o)[0] == ["ZeroDivisionError"] and text(o, 2) == "6\n"
    assert all(len(json.dumps(outs)) < 300_000 for outs in o.outputs.values()) and len(o.outputs[0]) <= 20


def test_there_is_no_network_and_no_tcp(library, files):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        o = KernelSession(library).run([
            cell(f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 2)\nexcept OSError as e: print(type(e).__name__)"),
            cell("print([n for _, n in socket.if_nameindex()])"),
            cell("print([sum(1 for _ in open('/proc/net/' + n)) - 1 for n in ('tcp', 'tcp6', 'udp', 'udp6', 'raw')])"),
        ], files, "ada")
    assert [text(o, i) for i in range(3)] == ["ConnectionRefusedError\n", "['lo']\n", "[0, 0, 0, 0, 0]\n"]
    assert any(f"socket.connect (('127.0.0.1', {port})" in f["note"] for f in o.flags)


def test_nothing_is_written_outside_or_remembered(library, files):
    before = sorted(p.name for p in files.iterdir())
    probe = """
import os
wrote = []
for place in ("/", "/course/lib", "/course/submission", "/usr", "/etc", "/proc/sys/kernel/hostname"):
    try:
        open(os.path.join(place, "mine") if os.path.isdir(place) else place, "w").write("x")
        wrote.append(place)
    except OSError:
        pass
open("mine", "w").write("x")
print(wrote, get_ipython().history_manager.enabled, [f for _, _, names in os.walk("/tmp") for f in names if f.startswith("history")])
"""
    o = KernelSession(library).run([cell(probe)], files, "ada")
    assert text(o, 0) == "[] False []\n"
    assert sorted(p.name for p in files.iterdir()) == before


def processes_with(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] * (mark.encode() in path.read_bytes())
        except OSError:
            continue                        # it has just ended
    return found


@pytest.mark.parametrize("end", ["", "\nos._exit(1)", "\nwhile True: pass"])
def test_nothing_survives(library, files, monkeypatch, end):
    scratch, mark = tempfile.mkdtemp(), f"6{secrets.randbelow(10**12)}"
    os.chmod(scratch, 0o755)
    monkeypatch.setattr(tempfile, "tempdir", scratch)
    source = f"import os, subprocess\nsubprocess.Popen(['sleep', '{mark}'], start_new_session=True)\nos.fork()\nos.setsid{end}"
    session = KernelSession(library, Limits(cell_seconds=1))
    o = session.run([cell(DEFINE), cell(source), check("f")], files, "ada")
    left = os.listdir(scratch)
    shutil.rmtree(scratch)
    until = time.monotonic() + 30           # the last ones are killed with their first, and take a moment to be gone
    while processes_with(mark) and time.monotonic() < until:
        time.sleep(0.02)
    assert any("started a program" in f["note"] for f in o.flags)
    assert left == [] and processes_with(mark) == []
    assert session.process.poll() is not None
    assert session.group is None or not any(f.exists() for f in session.group.folders)


FORGE = """
import os, socket, json, struct
body = json.dumps({"done": 0, "outputs": [{"stream": "stdout", "text": "forged"}]}).encode()
for fd in range(3, 250):
    try:
        s = socket.socket(fileno=os.dup(fd))
        if s.family == socket.AF_UNIX and s.getsockname() == "" and s.getpeername() == "":
            s.setblocking(False)
            s.send(struct.pack("<I", len(body)) + body)
    except OSError:
        pass
"""


def test_forged_messages_change_no_other_record_and_raise_nothing(library, files):
    cells = [cell(DEFINE), check("f"), cell(FORGE), check("f")]
    o = KernelSession(library, Limits(cell_seconds=2, check_seconds=2)).run(cells, files, "ada")
    assert values(o.records[1]) == [2]
    assert 3 in o.records or o.notes[3]
    assert "forged" not in json.dumps(o.outputs)


def test_many_checks_and_much_data_share_their_memory(library, files):
    checks = [check("f", case(i)) for i in range(30)]
    data = cell(DEFINE + "\nimport numpy as np\nbig = np.ones(8 << 20)")
    o = KernelSession(library).run([data, *checks, cell("print(len(big))")], files, "ada")
    assert o.notes == {} and [values(o.records[i + 1]) for i in range(30)] == [[2, i + 1] for i in range(30)]


ORDINARY = """
import json, os, sys, tempfile
from pathlib import Path
from mlsysbook.answers.check import case
from mlsysbook.box import cgroup, command
from mlsysbook.box.kernel import KernelSession
from mlsysbook.box.limits import Limits
from mlsysbook.box.session import CellSource
define = "from mlsysbook import case, check\\nimport numpy as np\\nbig = np.ones(8 << 20)\\ndef f(x): return x + 1"
check = CellSource("check('f', [case(1)])", True, [case(8).encoded()], [0, 1])
with tempfile.TemporaryDirectory() as folder:
    cells = [CellSource(define), *[check] * 40, CellSource("import time\\ntime.sleep(0.5)")]
    o = KernelSession(Path(sys.argv[1])).run(cells, folder, "ada")
    big = KernelSession(Path(sys.argv[1]), Limits(memory=300 << 20)).run(
        [CellSource(define), check, CellSource("import time\\nx = b'1' * (400 << 20)\\ntime.sleep(20)")], folder, "ada")
print(json.dumps([os.getuid(), command.probe().uid, o.ended, len(o.records), o.flags, big.ended]))
"""


@pytest.mark.root
def test_an_ordinary_user_has_the_same_box(library):
    if command.probe().uid is None:
        pytest.skip("the interpreter cannot be read by other users here")
    user = ["setpriv", "--reuid=60123", "--regid=60123", "--clear-groups"]
    done = subprocess.run([*user, sys.executable, "-B", "-c", ORDINARY, str(library)], cwd=ROOT, capture_output=True, text=True,
                          timeout=300, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr[-2000:]
    uid, inside, ended, records, flags, big = json.loads(done.stdout)
    assert (uid, inside, ended, records, flags) == (60123, None, "finished", 40, [])
    assert "memory" in big


def test_without_a_box_it_works_and_leaves_nothing_behind(library, files, monkeypatch):
    scratch = tempfile.mkdtemp()
    monkeypatch.setattr(tempfile, "tempdir", scratch)
    there = Path("/tmp/ipython").exists()
    o = KernelSession(library, unsafe=True).run([cell(DEFINE), check("f", case(3)), cell("print('said')")], files, "ada")
    left = os.listdir(scratch)
    shutil.rmtree(scratch)
    assert values(o.records[1]) == [2, 4] and text(o, 2) == "said\n" and o.ended == "finished"
    assert left == [] and Path("/tmp/ipython").exists() == there
