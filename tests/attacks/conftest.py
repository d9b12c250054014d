"""A course to attack, and canaries: what no attack may read, write, reach or leave behind."""

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mlsysbook import catalogue
from mlsysbook.answers.identity import pick
from mlsysbook.box import library
from mlsysbook.build import build
from tests.attacks.world import DRILL, World

COURSE = Path(__file__).resolve().parent.parent / "course"
SECRET = b"only the instructor knows these 32 b"


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """The course of tests/course, built in a temporary folder."""
    root = tmp_path_factory.mktemp("attacked") / "course"
    shutil.copytree(COURSE, root)
    made = catalogue.load(root)
    build(made, made.assignments)
    return made


@pytest.fixture(scope="session")
def kernel_course(tmp_path_factory):
    """The same course with a Jupyter kernel inside the box."""
    root = tmp_path_factory.mktemp("attacked") / "course"
    shutil.copytree(COURSE, root)
    text = (root / "course.yml").read_text()
    for here, there in (("minutes: 5", "minutes: 5\n    executor: kernel"), ("402653184", "603979776"), ("processes: 24", "processes: 40")):
        text = text.replace(here, there)
    (root / "course.yml").write_text(text)
    made = catalogue.load(root)
    build(made, made.assignments)
    return made


@pytest.fixture(scope="session")
def libraries(course):
    """What the box may import, by assignment name."""
    staged = {a.name: library.stage(course, a) for a in course.assignments}
    yield staged
    for folder in staged.values():
        shutil.rmtree(folder)


@pytest.fixture
def scratch(monkeypatch):
    """A place for temporary files of this test alone, which the box's user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="mlsys-attacks-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


class Canary:
    """Files that hold a word, a folder, and two listeners. `unharmed` says what happened to them."""

    WORD = "tweet-" + "k7q" * 5

    def __init__(self, folder):
        self.folder = folder
        self.home = Path(tempfile.mkdtemp(prefix=".mlsys-canary-", dir=Path.home()))
        self.tmp = Path(tempfile.mkdtemp(prefix="mlsys-canary-", dir="/tmp"))
        for place in (self.folder, self.folder / ".mlsys", self.home, self.tmp):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)  # the box, not a mode, keeps them
        self.files = [self.folder / "gradebook.db", self.folder / ".mlsys" / "secret", self.home / "word", self.tmp / "word"]
        for path in self.files:
            path.write_text(self.WORD)
            path.chmod(0o666)
        self.before = self._state()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(f"\0mlsys-canary-{self.port}")
        self.unix.listen()
        self.callers = []
        for listener in (self.tcp, self.unix):
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def _listen(self, listener):
        while True:
            try:
                caller, address = listener.accept()
            except OSError:
                return
            self.callers.append(address)
            caller.close()

    def _state(self):
        return {
            str(p): p.read_text() if p.is_file() else sorted(os.listdir(p))
            for place in (self.folder, self.home, self.tmp)
            for p in (place, *place.rglob("*"))
        }

    def unharmed(self):
        """What is not as it was -> list of str, empty when all is well."""
        after = self._state()
        return [f"{p} changed" for p in sorted(self.before.keys() | after.keys()) if self.before.get(p) != after.get(p)] + [
            f"somebody called: {c}" for c in self.callers
        ]

    @property
    def places(self):
        return {"PORT": self.port, "CLASS": self.folder, "TMP": self.tmp / "word", "HOME": self.home / "word"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tcp.close()
        self.unix.close()
        shutil.rmtree(self.home)
        shutil.rmtree(self.tmp)


@pytest.fixture(scope="session")
def canary(tmp_path_factory):
    with Canary(tmp_path_factory.mktemp("class")) as made:
        yield made


@pytest.fixture(scope="session")
def world(course, canary):
    """What attacks are written from."""
    notebooks = {a.name: json.loads(a.notebook_path.read_text()) for a in course.assignments}
    drill = course.find(DRILL)
    pool = json.loads((drill.source_dir / catalogue.SIDECAR).read_text())["variants"]
    v = pool[pick(course.id, drill.id, "neighbour", len(pool))]
    mine = {"COURSE": course.root, "SECRET": SECRET.decode(), "NEIGHBOURS_CACHE": 2 * v["layers"] * v["heads"] * 128 * 2 * 4096}
    return World(notebooks, course.id, canary.places | mine)


def leftovers(scratch):
    """Folders and processes that runs in boxes of this process have left behind."""
    folders = {str(p) for pattern in ("mlsys-box-*", "mlsys-vetted-*") for p in scratch.glob(pattern)}
    processes = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if scratch.name in (path / "cmdline").read_text(errors="replace") + (path / "mountinfo").read_text(errors="replace"):
                processes.add(f"process {path.name}")
        except OSError:
            continue
    return folders | processes


@pytest.fixture
def nothing_left(scratch):
    """Fails if a process or folder of a box is still there a moment after the test."""
    yield
    until = time.monotonic() + 30
    while (left := leftovers(scratch)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left
