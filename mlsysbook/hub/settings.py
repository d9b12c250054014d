"""What one hub needs to know: class.yml, the roster, ports and folders, as plain data."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import HubError
from ..grading.classroom import Classroom


@dataclass(frozen=True)
class ClassInfo:
    """The part of class.yml that the hub uses. `owner` owns the folder, the gradebook and the exchange of the class."""

    folder: Path
    course: str
    instructors: tuple[str, ...]
    exchange: Path
    db_url: str


@dataclass(frozen=True)
class Settings:
    """One run of the hub. Made in `launch`, sent to the hub process as JSON, read by `configure`."""

    course: str
    class_dir: str
    exchange: str
    state_dir: str                  # private: cookie secret, database, log
    runtime_dir: str                # world-readable: the configuration that students' servers read
    owner: str                      # Unix user of the formgrader service
    instructors: tuple[str, ...]
    db_url: str
    alone: bool                     # not root: the caller is the only user, instructor and student in one
    work_dir: str                   # where a student's files live; "~" for real users
    auth: str                       # "pam" | "shared-password"
    host: str
    port: int
    hub_port: int
    proxy_port: int
    service_port: int
    proxy: tuple[str, ...]          # command of configurable-http-proxy
    bin_dir: str                    # of the environment that students share
    mathjax: bool = False           # jupyter-server-mathjax is installed: formulas in the formgrader
    student_password: str | None = None
    instructor_password: str | None = None

    def dumps(self):
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text):
        data = json.loads(text)
        return cls(**{f.name: tuple(v) if isinstance(v := data[f.name], list) else v for f in fields(cls)})

    @property
    def service_name(self):
        return self.course

    @property
    def bind_url(self):
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self):
        """Where a browser on this machine finds the hub."""
        return f"http://127.0.0.1:{self.port}" if self.host in ("", "0.0.0.0", "::") else self.bind_url

    @property
    def formgrader_url(self):
        return f"{self.url}/services/{self.service_name}/formgrader"


def read_class(folder):
    """Read <folder>/class.yml -> ClassInfo. One line of CourseError for every way in which it can be unusable."""
    folder = Path(folder).expanduser().resolve()
    if not (folder / "class.yml").exists():
        what = "holds no class.yml, so it is no class" if folder.is_dir() else "does not exist"
        raise HubError(f"class folder {folder} {what}: make one with `mlsys class new {folder}`")
    made = Classroom.open(folder)
    return ClassInfo(made.root, made.course_id, made.instructors, made.exchange, made.db_url)


def roster(db_url):
    """Student ids in the gradebook, sorted. Only reads: the file may belong to another user."""
    if db_url.startswith("sqlite:///"):
        path = Path(db_url.removeprefix("sqlite:///"))
        if not path.is_file():
            return []
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
                return sorted(row[0] for row in db.execute("select id from student"))
        except sqlite3.Error as error:
            raise HubError(f"{path}: not a gradebook ({error}); make the roster with: mlsys class roster") from None
    from sqlalchemy import create_engine, text

    engine = create_engine(db_url)
    try:
        with engine.connect() as db:
            return sorted(row[0] for row in db.execute(text("select id from student")))
    finally:
        engine.dispose()
