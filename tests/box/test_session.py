"""The box itself: what it closes, what it limits with and without control groups, and who may use it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mlsysbook import catalogue
from mlsysbook.answers.check import case
from mlsysbook.answers.record import decode
from mlsysbook.box import cgroup, command, library
from mlsysbook.box.limits import MIB, Limits
from mlsysbook.box.session import CellSource, Session
from mlsysbook.errors import BoxError, CatalogueError

ROOT = Path(__file__).resolve().parents[2]
DEFINE = "from mlsysbook import answer, case, check\ndef f(x): return x + 1"
SMALL = Limits(cell_seconds=1.5, check_seconds=1.5, total_seconds=15, memory=300 * MIB, processes=24, disk_bytes=8 * MIB)


@pytest.fixture(scope="module")
def staged():
    course = catalogue.load(ROOT)
    folder = library.stage(course, course.assignments[0])
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def no_groups(monkeypatch):
    """A host that delegates no control group, as most laptops."""
    if os.geteuid() == 0 and command.probe().uid is None:
        pytest.skip("the interpreter is closed to other users, so root has no box without control groups here")
    monkeypatch.setattr(cgroup, "create", lambda limits: None)


def cell(source):
    return CellSource(source)


def check(name="f", *hidden):
    return CellSource(f"check({name!r}, [case(1)])", True, [h.encoded() for h in hidden], list(range(1 + len(hidden))))


def text(outcome, i):
    return "".join(o.get("text", "") for o in outcome.outputs.get(i, []))


def values(record):
    return [decode(r["out"]) for r in record["results"]]


def kinds(outcome):
    return {f["kind"] for f in outcome.flags}


def test_cells_run_in_order_and_checks_see_what_stood_there(staged, tmp_path):
    o = Session(staged).run([cell(DEFINE), check("f", case(6)), cell("f = abs\nprint('later')"), check("f", case(-3))], tmp_path, "ada")
    assert (o.ended, o.notes, o.flags) == ("finished", {}, [])
    assert values(o.records[1]) == [2, 7] and values(o.records[3]) == [1, 3] and text(o, 2) == "later\n"


def test_no_process_that_ran_a_cell_is_left_when_hidden_cases_go_in(staged, tmp_path):
    """A child of an ordinary cell holds every socket; it may neither hear a hidden case nor answer one."""
    listens = """
import os, socket, select
fds = [int(f) for f in os.listdir("/proc/self/fd") if int(f) > 2]
if os.fork() == 0:
    while True:
        for fd in fds:
            try:
                data = socket.socket(fileno=os.dup(fd)).recv(1 << 16, socket.MSG_DONTWAIT)
                if data: open("/tmp/heard", "ab").write(data)
            except OSError: pass
"""
    hears = "def g(x):\n    import time, os\n    time.sleep(0.2)\n    return os.path.exists('/tmp/heard')"
    o = Session(staged).run([cell(DEFINE), cell(listens), check("f", case(6)), cell(hears), check("g", case(2))], tmp_path, "ada")
    assert values(o.records[2]) == [2, 7] and values(o.records[4]) == [False, False]


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("hog", [
    "def g(x):\n    hold = []\n    while True: hold.append(bytearray(b'x' * 8_000_000))",
    "import os, time\ndef g(x):\n    for i in range(8):\n        if os.fork() == 0:\n            hold = [bytearray(b'x' * 60_000_000)]\n"
    "            time.sleep(900)\n    time.sleep(900)",
])
def test_a_check_that_takes_too_much_memory_fails_alone(staged, tmp_path, request, groups, hog):
    if not groups:
        request.getfixturevalue("no_groups")
    elif cgroup.create(SMALL) is None:
        pytest.skip("no control groups here")
    begun = time.monotonic()
    o = Session(staged, SMALL).run([cell(DEFINE), check("f", case(6)), cell(hog), check("g"), check("f", case(8))], tmp_path, "ada")
    assert time.monotonic() - begun < 60
    assert values(o.records[1]) == [2, 7] and values(o.records[4]) == [2, 9]
    assert 3 not in o.records or "raised" in o.records[3]["results"][0] or o.records[3].get("failed") == "ran out of memory"
    assert "limit" in kinds(o) or o.records[3].get("failed") == "ran out of memory"


@pytest.mark.parametrize("groups", [True, False])
def test_a_fork_bomb_is_bounded_and_over_in_time(staged, tmp_path, request, groups):
    if not groups:
        request.getfixturevalue("no_groups")
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    begun = time.monotonic()
    o = Session(staged, SMALL).run([cell(DEFINE), check("f", case(6)), cell(bomb)], tmp_path, "ada")
    assert time.monotonic() - begun < 60 and values(o.records[1]) == [2, 7] and "limit" in kinds(o)


def test_what_would_limit_no_process_is_refused(staged, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "probe", lambda: command.Identity(None))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cgroup, "create", lambda limits: None)
    with pytest.raises(BoxError, match="^.* cannot be read by other users and there is no control group, .*$"):
        Session(staged, SMALL).run([cell(DEFINE)], tmp_path, "ada")


def test_memory_that_no_process_shows_is_refused_or_counted(staged, tmp_path, no_groups):
    hides = """
import ctypes, os
kept = 0
for make in (lambda: os.memfd_create("x"), lambda: os.fdopen(os.open("/dev/shm/x", 66), "wb").write(b"x" * 30_000_000)):
    try: make(); kept += 1
    except OSError: pass
print(kept, ctypes.CDLL(None).shmget(0, 1 << 28, 0o1600))
"""
    o = Session(staged, SMALL).run([cell(hides)], tmp_path, "ada")
    assert text(o, 0) == "0 -1\n"


def test_every_place_that_can_be_written_has_a_limit(staged, tmp_path):
    argv = command.argv(["true"], library=staged, submission=tmp_path, limits=SMALL, identity=command.Identity(None))
    mounts = [i for i, a in enumerate(argv) if a == "--tmpfs"]
    assert {argv[i + 1] for i in mounts if argv[i - 2] == "--size"} == {"/tmp", "/submission", "/dev/shm"}
    for i in mounts:
        assert argv[i - 2:i] == ["--size", str(8 * MIB)] or argv[i + 2:i + 4] == ["--remount-ro", argv[i + 1]]
    assert not {"--bind", "--dev-bind"} & set(argv)


def test_only_the_students_side_can_be_imported(staged):
    found = {str(p.relative_to(staged / "mlsysbook")) for p in (staged / "mlsysbook").rglob("*.py")}
    assert {f.split("/")[0] for f in found} == {"__init__.py", "errors.py", "atomic.py", "answers", "labs", "box"}
    assert {f for f in found if f.startswith("box/")} == {"box/__init__.py", "box/runner.py", "box/kernel_worker.py", "box/watch.py"}


def test_a_later_modules_export_is_left_out_and_an_earlier_one_is_not(tmp_path):
    course = catalogue.load(ROOT)
    first, lab = course.find("tinytorch/01_tensor"), next(a for a in course.assignments if a.part != "tinytorch")
    for assignment, there in ((first, False), (lab, True)):
        folder = library.stage(course, assignment)
        try:
            assert (folder / "tinytorch" / "tensor.py").exists() is there
        finally:
            shutil.rmtree(folder)


def test_limits_come_from_the_catalogue(tmp_path):
    a = catalogue.Assignment("drills/x", "x", 1.0, 1, tmp_path, limits=(("check_seconds", 3), ("processes", 9.0)))
    assert Limits.of(a) == Limits(check_seconds=3.0, processes=9)
    with pytest.raises(CatalogueError, match="unknown limit 'chekc_seconds'; known: .*check_seconds"):
        Limits.of(catalogue.Assignment("drills/x", "x", 1.0, 1, tmp_path, limits=(("chekc_seconds", 3),)))


def test_without_bubblewrap_it_says_what_to_do(monkeypatch):
    command.probe.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BoxError, match="install it .*--unsafe"):
        command.probe()
    command.probe.cache_clear()


def test_a_box_that_does_not_open_says_why(monkeypatch):
    command.probe.cache_clear()
    monkeypatch.setattr(command, "argv", lambda *a, **k: ["sh", "-c", "echo 'setting up uid map: Permission denied' >&2; exit 1"])
    with pytest.raises(BoxError, match="uid map: Permission denied.*user namespaces"):
        command.probe()
    command.probe.cache_clear()


@pytest.mark.root
def test_an_ordinary_user_can_grade(staged):
    """Started by root for want of another way to be somebody else."""
    interpreter = os.path.realpath(sys.executable)
    asks = f"""
import sys, tempfile
sys.path.insert(0, {str(ROOT)!r})
from tests.box.test_session import DEFINE, SMALL, cell, check, values, kinds
from mlsysbook.answers.check import case
from mlsysbook.box.session import Session
from pathlib import Path
folder = tempfile.mkdtemp()
loop = "def g(x):\\n    while True: pass"
o = Session(Path({str(staged)!r}), SMALL).run([cell(DEFINE), check("f", case(6)), cell(loop), check("g"), check("f", case(8))], folder, "ada")
print(values(o.records[1]), o.notes, values(o.records[4]), sorted(kinds(o)))
"""
    become = ["setpriv", "--reuid=61999", "--regid=61999", "--clear-groups", "env", "HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1"]
    if subprocess.run([*become, sys.executable, "-c", f"open({str(ROOT / 'setup.cfg')!r})"], capture_output=True).returncode:
        pytest.skip(f"other users cannot read {ROOT} or {interpreter}")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o777)
        done = subprocess.run([*become, f"TMPDIR={place}", sys.executable, "-c", asks], capture_output=True, text=True, cwd="/", timeout=300)
    assert done.stdout == "[2, 7] {3: 'did not end within 1.5 s'} [2, 9] ['limit']\n", done.stdout + done.stderr
