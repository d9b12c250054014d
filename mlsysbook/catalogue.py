"""The catalogue: what course.yml says, as data, with errors that name the line to mend."""

import difflib
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from .answers.identity import SIDECAR  # noqa: F401  (the catalogue's name for it as well)
from .errors import CatalogueError

PARTS = ("tinytorch", "labs", "drills", "kits")
_FIELDS = {"name", "title", "points", "minutes", "requires", "exports", "executor", "limits"}


@dataclass(frozen=True)
class Assignment:
    """One graded notebook. `name` is part/folder in modules/; `id` is what nbgrader calls it."""

    name: str
    title: str
    points: float
    minutes: int
    root: Path
    requires: tuple[str, ...] = ()
    exports: str | None = None
    executor: str = "runner"            # or "kernel", for notebooks that need a Jupyter kernel
    limits: tuple[tuple[str, float], ...] = ()

    @property
    def part(self):
        return self.name.split("/")[0]

    @property
    def notebook(self):
        return self.name.split("/")[1]

    @property
    def id(self):
        return self.name.replace("/", "-", 1)

    @property
    def author_source(self):
        return self.root / "modules" / self.part / self.notebook / f"{self.notebook}.py"

    @property
    def source_dir(self):
        return self.root / "source" / self.id

    @property
    def notebook_path(self):
        return self.source_dir / f"{self.notebook}.ipynb"


@dataclass(frozen=True)
class Lab:
    """A lab of the course by its number, "V1-13"; `assignment` is its name in the catalogue, None where it is planned."""

    number: str
    title: str
    assignment: str | None = None


@dataclass(frozen=True)
class Module:
    """A TinyTorch module by its number; `assignment` is its name in the catalogue, None where it is planned."""

    number: int
    title: str
    assignment: str | None = None


@dataclass(frozen=True)
class Kit:
    """A hardware notebook by its folder's name; `assignment` is its name in the catalogue, None where it is planned."""

    name: str
    title: str
    assignment: str | None = None


@dataclass(frozen=True)
class Chapter:
    """A chapter of the book by its number, "V1-13", and what goes with it: numbers of chapters and labs, modules, kits, drill sets."""

    number: str
    title: str
    part: str
    week: str
    requires: tuple[str, ...] = ()
    labs: tuple[str, ...] = ()
    modules: tuple[int, ...] = ()
    kits: tuple[str, ...] = ()
    drills: tuple[str, ...] = ()

    @property
    def volume(self):
        return int(self.number[1])

    @property
    def file(self):
        """Its source below book/, without the suffix, as _toc.yml names it."""
        words = re.findall(r"[a-z]+", self.title.lower())
        return f"vol{self.volume}/{self.number[3:]}_{'_'.join(words)}"


@dataclass(frozen=True)
class Course:
    """A checkout of the course: its root folder and what course.yml lists."""

    root: Path
    id: str
    title: str
    assignments: tuple[Assignment, ...]
    labs: tuple[Lab, ...] = ()
    modules: tuple[Module, ...] = ()
    kits: tuple[Kit, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    schedule: dict = field(default_factory=dict, compare=False)      # as it stands there; mlsysbook.teach.syllabus reads it

    @cached_property
    def _by_key(self):
        return {key: a for a in self.assignments for key in (a.name, a.id)}

    def find(self, key):
        """The assignment called `key`, either part/folder or nbgrader id."""
        try:
            return self._by_key[key]
        except KeyError:
            near = difflib.get_close_matches(key, self._by_key, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(a.name for a in self.assignments)}"
            raise CatalogueError(f"unknown assignment {key!r}{hint}") from None

    def select(self, keys):
        """The assignments called `keys`, or all of them, in the order of the catalogue."""
        chosen = {self.find(k).name for k in keys}
        return [a for a in self.assignments if not keys or a.name in chosen]

    def earlier_exports(self, assignment):
        """Files of tinytorch that a student of `assignment` may import: what earlier modules export.

        A lab, drill or kit builds on the whole framework; a TinyTorch module only on those before it.
        """
        modules = [a for a in self.assignments if a.exports]
        if assignment.part == "tinytorch":
            modules = modules[:[a.name for a in modules].index(assignment.name)] if assignment.exports else modules
        return [a.exports for a in modules]


def find_root(start=None):
    """The nearest folder at or above `start` that holds course.yml; $MLSYS_COURSE or this package's own otherwise."""
    start = Path(start or os.getcwd()).resolve()
    places = [start, *start.parents]
    if os.environ.get("MLSYS_COURSE"):
        places.append(Path(os.environ["MLSYS_COURSE"]))
    places.append(Path(__file__).resolve().parent.parent)
    for folder in places:
        if (folder / "course.yml").is_file() and (folder / "modules").is_dir():
            return folder
    raise CatalogueError(f"no course.yml at or above {start}: run this inside the course, or set MLSYS_COURSE to its folder")


def load(root=None):
    """Read and check course.yml -> Course."""
    root = Path(root) if root else find_root()
    path = root / "course.yml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise CatalogueError(f"{path}:{mark.line + 1 if mark else 1}: not YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(data, dict) or not {"id", "title", "assignments"} <= data.keys():
        raise CatalogueError(f"{path}: wants the keys id, title and assignments")
    assignments = tuple(_assignments(data["assignments"], path, root))
    labs = tuple(_labs(data.get("labs") or (), path, assignments))
    modules = tuple(_modules(data.get("modules") or (), path, assignments))
    kits = tuple(_kits(data.get("kits") or (), path, assignments))
    chapters = tuple(_chapters(data.get("chapters") or (), path, assignments, labs, modules, kits))
    return Course(root, str(data["id"]), str(data["title"]), assignments, labs, modules, kits, chapters,
                  data.get("schedule") or {})


def _assignments(entries, path, root):
    seen = set()
    for entry in entries:
        name = str(entry.get("name", "")) if isinstance(entry, dict) else str(entry)
        if name.count("/") != 1 or name.split("/")[0] not in PARTS:
            raise CatalogueError(f"{path}: assignment {name!r} must be PART/NAME with PART one of {', '.join(PARTS)}")
        unknown = entry.keys() - _FIELDS
        if unknown:
            raise CatalogueError(f"{path}: {name} has unknown fields {', '.join(sorted(unknown))}; known: {', '.join(sorted(_FIELDS))}")
        if name in seen:
            raise CatalogueError(f"{path}: {name} is listed twice")
        points = entry.get("points")
        if not isinstance(points, int | float) or not points > 0:
            raise CatalogueError(f"{path}: {name} needs points > 0, got {points!r}")
        missing = [r for r in entry.get("requires", ()) if r not in seen]
        if missing:
            raise CatalogueError(f"{path}: {name} requires {missing[0]}, which is not listed before it")
        executor = entry.get("executor", "runner")
        if executor not in ("runner", "kernel"):
            raise CatalogueError(f"{path}: {name} has executor {executor!r}; wants runner or kernel")
        seen.add(name)
        yield Assignment(name, str(entry.get("title", name)), float(points), int(entry.get("minutes", 60)), root,
                         tuple(entry.get("requires", ())), entry.get("exports"), executor,
                         tuple(sorted(entry.get("limits", {}).items())))


def _labs(entries, path, assignments):
    made, seen = {a.name for a in assignments if a.part == "labs"}, []
    for entry in entries:
        if not isinstance(entry, dict) or not {"number", "title"} <= entry.keys() <= {"number", "title", "assignment"}:
            raise CatalogueError(f"{path}: lab {entry!r} wants number and title, and assignment where there is one")
        lab = Lab(**{k: str(v) for k, v in entry.items()})
        if not re.fullmatch(r"V[12]-\d\d", lab.number):
            raise CatalogueError(f"{path}: lab number {lab.number!r} wants the form V1-13")
        if seen and lab.number <= seen[-1]:
            raise CatalogueError(f"{path}: lab {lab.number} stands after {seen[-1]}; numbers ascend, each once")
        if lab.assignment is not None and lab.assignment not in made:
            raise CatalogueError(f"{path}: lab {lab.number} names {lab.assignment!r}, which is no assignment of the part labs")
        seen.append(lab.number)
        yield lab


def _modules(entries, path, assignments):
    made = {a.notebook[:2]: a.name for a in assignments if a.part == "tinytorch"}
    for place, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or entry.keys() != {"number", "title"} or entry["number"] != place:
            raise CatalogueError(f"{path}: module {entry!r} wants a title and the number {place}")
        yield Module(place, str(entry["title"]), made.get(f"{place:02}"))


def _kits(entries, path, assignments):
    made, seen = {a.notebook: a.name for a in assignments if a.part == "kits"}, set()
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"name", "title"} or entry["name"] in seen:
            raise CatalogueError(f"{path}: kit {entry!r} wants a name of its own and a title")
        seen.add(entry["name"])
        yield Kit(str(entry["name"]), str(entry["title"]), made.get(entry["name"]))


def _chapters(entries, path, assignments, labs, modules, kits):
    known = {"labs": [x.number for x in labs], "modules": [x.number for x in modules], "kits": [x.name for x in kits],
             "drills": [a.name for a in assignments if a.part == "drills"]}
    wanted, seen = {"number", "title", "part", "week"}, []
    for entry in entries:
        if not isinstance(entry, dict) or not wanted <= entry.keys() <= wanted | known.keys() | {"requires"}:
            raise CatalogueError(f"{path}: chapter {entry!r} wants {', '.join(sorted(wanted))}, and may have requires, {', '.join(known)}")
        number = str(entry["number"])
        if not re.fullmatch(r"V[12]-\d\d", number) or seen and number <= seen[-1]:
            raise CatalogueError(f"{path}: chapter number {number!r} wants the form V1-13, ascending, each once")
        if not re.fullmatch(r"[FS]\d{1,2}", str(entry["week"])):
            raise CatalogueError(f"{path}: chapter {number} has week {entry['week']!r}; wants F1 to F16 or S1 to S16")
        for kind, names in {**known, "requires": seen}.items():
            missing = [x for x in entry.get(kind, ()) if x not in names]
            if missing:
                raise CatalogueError(f"{path}: chapter {number} has {missing[0]!r} in {kind}, where course.yml lists none before it")
        seen.append(number)
        yield Chapter(**{k: tuple(v) if isinstance(v, list) else str(v) for k, v in entry.items()})
