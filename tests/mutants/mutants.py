"""Mutants as data: wrong solutions, each written as a search and a replacement in an author source.

tests/mutants/NN_name.toml belongs to modules/tinytorch/NN_name/NN_name.py:

    [[mutant]]
    name = "one sentence: what is wrong"
    find = "text that occurs once in the source, in the solution region of a cell"
    replace = "what stands there instead"
    check = "name of the check that must lose points"
    survives = "only for one that no check can tell from a right solution: why"
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from mlsysbook.build.source import BEGIN, END, read
from mlsysbook.errors import SourceError

FOLDER = Path(__file__).parent
MARK = "[[mutant]]"
FEWEST = 8                              # of a module
FIELDS = {"name", "find", "replace", "check"}


@dataclass(frozen=True)
class Mutant:
    """One wrong solution: the cell `solution`, its text `source`, and the check that is to notice."""

    name: str
    check: str
    solution: str
    source: str
    line: int
    survives: str = ""


def path_of(assignment):
    return FOLDER / f"{assignment.notebook}.toml"


def mutants(assignment, path=None):
    """The mutants of a module, checked -> list of Mutant. Raises SourceError at file:line of the first that is wrong."""
    path = path or path_of(assignment)
    if not path.is_file():
        raise SourceError(path, 1, f"there is no such file; {assignment.name} wants {FEWEST} mutants or more")
    text = path.read_text(encoding="utf-8")
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.strip() == MARK]
    try:
        entries = tomllib.loads(text).get("mutant", [])
    except tomllib.TOMLDecodeError as error:
        raise SourceError(path, 1, f"not TOML: {error}") from None
    if len(entries) < FEWEST or len(entries) != len(lines):
        raise SourceError(path, lines[-1] if lines else 1, f"{len(entries)} mutants under {len(lines)} lines {MARK}; a module has at least {FEWEST}")
    cells, author = read(assignment.author_source), assignment.author_source.read_text(encoding="utf-8")
    made = []
    for line, entry in zip(lines, entries, strict=True):
        made.append(_mutant(path, line, entry, cells, author))
        if made[-1].name in (m.name for m in made[:-1]):
            raise SourceError(path, line, f"{made[-1].name!r} is the name of two mutants")
    return made


def _mutant(path, line, entry, cells, author):
    def wrong(message):
        return SourceError(path, line, message)

    if not FIELDS <= entry.keys() <= FIELDS | {"survives"} or not all(isinstance(v, str) for v in entry.values()):
        raise wrong(f"wants texts {', '.join(sorted(FIELDS))} and perhaps survives; got {', '.join(sorted(entry))}")
    find, replace = entry["find"], entry["replace"]
    count = author.count(find) if find else 0
    if count != 1:
        raise wrong(f"find occurs {count} times in the source, wants once: {_short(find)}")
    cell = next((c for c in cells if c.kind == "solution" and find in _region(c)), None)
    if cell is None:
        raise wrong(f"find is not inside one solution region: {_short(find)}")
    check = next((c for c in cells if c.kind == "check" and c.name == entry["check"]), None)
    if check is None:
        raise wrong(f"there is no check {entry['check']!r}")
    if cell.name not in check.covers:
        raise wrong(f"check {check.name!r} does not cover the solution {cell.name!r} that is changed")
    source = cell.text.replace(find, replace)
    try:
        compile(source, str(path), "exec")
    except SyntaxError as error:
        raise wrong(f"the changed solution does not compile: {error.msg}, line {error.lineno} of its cell") from None
    if source == cell.text:
        raise wrong("find and replace are the same")
    return Mutant(entry["name"], check.name, cell.name, source, line, entry.get("survives", ""))


def _region(cell):
    """What is between the marks of a cell; a region that follows another does not touch it."""
    return "\0".join(part.split(END)[0] for part in cell.text.split(BEGIN)[1:])


def _short(text):
    return repr(text if len(text) <= 80 else text[:77] + "...")
