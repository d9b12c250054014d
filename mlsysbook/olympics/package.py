"""What an entry hands in: a folder with olympics.toml, read by one who trusts none of it.

The judge sees code without comments and docstrings, so nothing can be kept there, and what data the code still carries in
texts, numbers and names is counted as bytes of the model.
"""

import ast
import hashlib
import json
import math
import os
import re
import stat
import tomllib
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .. import atomic
from ..errors import CourseError
from . import arrays
from .tracks import TRACKS

MANIFEST, SIDECAR = "olympics.toml", "assignment.json"
FILES, BYTES = 200, 16 << 20            # of one entry
CODE = 32 << 10                         # of an entry's own modules without comments; its notebooks beyond the reference's too
FREE = {"texts": 256, "numbers": 128, "names": 768}     # bytes that code may hold of each; what is more counts as the model's
PACKED = 1536                           # bytes of an entry's own modules, compressed; of what is more, too: any row of names can be a table
_NAME = re.compile(r"\w[\w .'&+-]{0,39}")
_PYTHON = re.compile(r"[A-Za-z_]\w{0,39}")
_KEYS = {"track": str, "team": str, "members": list, "module": str, "build": str, "weights": str, "predict": str, "seed": int,
         "notebooks": str}


class PackageError(CourseError):
    """An entry that cannot be run: one line with the file and the reason."""


@dataclass(frozen=True)
class Manifest:
    """olympics.toml. Of build and weights one is None."""

    track: str
    team: str
    members: tuple
    module: str
    build: str | None
    weights: str | None
    predict: str
    seed: int
    notebooks: str | None

    @property
    def board(self):
        return "team" if len(self.members) > 1 else "individual"


@dataclass(frozen=True)
class Package:
    """A manifest, the SHA-256 of all files, what is staged in the box, the stored model, and the bytes of data in its code."""

    manifest: Manifest
    sha256: str
    staged: dict
    model: dict | None
    carried: int

    @property
    def own(self):
        """Names of the TinyTorch modules that its notebooks make."""
        return sorted({name.split("/")[1] for name in self.staged if name.startswith("notebooks/")})

    def stage(self, folder):
        """Write what goes into the box to a folder."""
        for name, data in self.staged.items():
            atomic.write(Path(folder) / name, data)


def files(folder):
    """Regular files below a folder, {name: bytes}, hidden ones and caches left out. Raises PackageError."""
    folder, found, total = Path(folder), {}, 0
    if not folder.is_dir():
        raise PackageError(f"{folder}: there is no such folder")
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        for name in sorted(names + [f for f in folders if Path(place, f).is_symlink()]):
            path = Path(place, name)
            inside = path.relative_to(folder).as_posix()
            if name.startswith(".") or name.endswith(".pyc"):
                continue
            if not inside.isprintable():
                raise PackageError(f"{inside!r}: wants names of files that can be printed")
            info = path.lstat()
            if not stat.S_ISREG(info.st_mode):
                raise PackageError(f"{inside}: wants regular files, no links or pipes; copy what it points to")
            total += info.st_size
            if len(found) >= FILES or total > BYTES:
                raise PackageError(f"{folder.name}: more than {FILES} files or {BYTES >> 20} MiB; leave out what is not run")
            found[inside] = path.read_bytes()
    return found


def digest(found):
    """SHA-256 of files {name: bytes}, names and lengths included."""
    made = hashlib.sha256()
    for name, data in sorted(found.items()):
        made.update(json.dumps([name, len(data)]).encode() + data)
    return made.hexdigest()


def manifest(found):
    """The Manifest among files {name: bytes}. Raises PackageError."""
    if MANIFEST not in found:
        raise PackageError(f"there is no {MANIFEST}; `mlsys olympics new FOLDER` writes one")
    try:
        said = tomllib.loads(found[MANIFEST].decode())
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{MANIFEST}: {' '.join(str(error).split())}") from None
    wrong = [k for k in said if k not in _KEYS]
    if wrong:
        raise PackageError(f"{MANIFEST}: unknown key {wrong[0]!r}; known: {', '.join(_KEYS)}")
    for key, kind in _KEYS.items():
        if key in said and type(said[key]) is not kind:
            raise PackageError(f"{MANIFEST}: {key} wants a {kind.__name__}, got {str(said[key])[:40]!r}")
    missing = [k for k in ("track", "team", "members", "module", "predict") if k not in said]
    if missing:
        raise PackageError(f"{MANIFEST}: {missing[0]} is missing")
    if said["track"] not in TRACKS:
        raise PackageError(f"{MANIFEST}: unknown track {said['track'][:40]!r}; there are {', '.join(TRACKS)}")
    members = said["members"]
    if not 1 <= len(members) <= 10 or len(set(map(str, members))) < len(members):
        raise PackageError(f"{MANIFEST}: members wants one to ten different names")
    for name in (said["team"], *members):
        if type(name) is not str or not _NAME.fullmatch(name):
            raise PackageError(f"{MANIFEST}: {str(name)[:60]!r} is no name: wants up to 40 letters, digits, spaces and . ' & + -")
    if ("build" in said) == ("weights" in said):
        raise PackageError(f"{MANIFEST}: wants build, which trains in the box, or weights, a file with arrays; one of the two")
    for key in ("module", "build", "predict"):
        if key in said and not _PYTHON.fullmatch(said[key]):
            raise PackageError(f"{MANIFEST}: {key} wants a name in Python, got {said[key][:40]!r}")
    if f"{said['module']}.py" not in found:
        raise PackageError(f"{MANIFEST}: module is {said['module']!r}, but there is no {said['module']}.py beside it")
    if not 0 <= said.get("seed", 0) < 2 ** 32:
        raise PackageError(f"{MANIFEST}: seed wants a number from 0 to 2**32 - 1")
    return Manifest(said["track"], said["team"], tuple(members), said["module"], said.get("build"), said.get("weights"), said["predict"],
                    said.get("seed", 0), said.get("notebooks"))


def read(folder):
    """The Package in a folder. Raises PackageError."""
    found = files(folder)
    said = manifest(found)
    staged, held, code, names = {}, Counter(), 0, set()
    for name, data in found.items():
        if name.endswith(".py") and "/" not in name:
            staged[name], tree = plain(data, name)
            code += len(staged[name])
            names.add(name)             # of which a folder can hold many, each with nothing in it
            held += literals(tree, names)
    own = b"".join(staged.values())
    if said.notebooks is not None:
        more, beyond, size = _notebooks(found, said.notebooks)
        staged, held, code = staged | more, held + beyond, code + size
    if code > CODE:
        raise PackageError(f"the code is {code:,} bytes without comments, more than the {CODE:,} that an entry may have")
    model = None
    if said.weights is not None:
        if said.weights not in found:
            raise PackageError(f"{MANIFEST}: weights is {said.weights[:60]!r}, but there is no such file in the folder")
        try:
            model = arrays.read_npz(found[said.weights])
        except ValueError as error:
            raise PackageError(f"{said.weights}: {error}") from None
    held["names"] += total(names)
    carried = max(sum(max(0, held[kind] - free) for kind, free in FREE.items()), len(zlib.compress(own, 9)) - PACKED)
    return Package(said, digest(found), staged, model, carried)


def plain(data, name):
    """Python code without comments and docstrings, as bytes and as a syntax tree. Raises PackageError."""
    try:
        tree = ast.parse(data)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):      # a text that is a statement of its own, such as a docstring
                node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))] or (
                    [] if isinstance(node, ast.Module) else [ast.Pass()])
        return (ast.unparse(tree) + "\n").encode(), tree
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PackageError(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


def literals(tree, names):
    """Bytes of the texts and of the numbers in a syntax tree, each as often as it comes -> Counter; its names are added to `names`."""
    held = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            value = node.value
            if isinstance(value, str | bytes):
                held["texts"] += len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(value)
            elif isinstance(value, int) and not isinstance(value, bool):
                held["numbers"] += max(1, math.ceil(value.bit_length() / 8))
            elif isinstance(value, float | complex):
                held["numbers"] += min(8, len(repr(value)) - 1)     # 0.5 holds less than eight bytes do
        else:
            for _, of in ast.iter_fields(node):
                names.update(part for part in (of if isinstance(of, list) else [of]) if isinstance(part, str))
    return held


def total(names):
    """Bytes of some names, each once: in a program every one stands at least twice."""
    return sum(len(name.encode("utf-8", "surrogatepass")) for name in names)


def _notebooks(found, place):
    """The cells of notebooks below `place` that make modules: files to stage, and what they hold and how much code they are beyond the
    reference's same modules.
    """
    import tinytorch

    home = Path(tinytorch.__file__).parent
    staged, beyond, excess = {}, Counter(), 0
    place = place.strip("/")
    for name in [n for n in found if n.endswith(f"/{SIDECAR}") and (n.startswith(place + "/") or place in ("", "."))]:
        folder = name.removesuffix(f"/{SIDECAR}")
        try:
            baked = json.loads(found[name])
            if "exports" not in baked:
                continue
            book = f"{folder}/{baked['notebook']}.ipynb"
            ids, module = list(map(str, baked["exports"]["cells"])), Path(baked["exports"]["to"]).stem
            given = {c["metadata"].get("nbgrader", {}).get("grade_id"): "".join(c["source"]) for c in json.loads(found[book])["cells"]
                     if c["cell_type"] == "code"}
            texts = {i: given[i] for i in ids if i in given}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PackageError(f"{folder}: not a readable notebook with its {SIDECAR} ({type(error).__name__})") from None
        if module not in tinytorch._MODULES:
            raise PackageError(f"{name}: there is no module {module[:40]!r}")
        if lost := [i for i in ids if i not in texts]:
            raise PackageError(f"{book}: cell {str(lost[0])[:40]!r} is missing; fetch the notebook again and move your solutions over")
        code, tree = plain((home / f"{module}.py").read_bytes(), module)
        names, theirs, own, size = set(), set(), Counter(), 0
        official = literals(tree, theirs)
        for i, text in texts.items():
            if text.startswith("%%"):   # another language's, so a text
                own["texts"] += len(text.encode("utf-8", "surrogatepass"))
            else:
                data, tree = plain(text.encode("utf-8", "surrogatepass"), f"{book}, cell {i}")
                texts[i], own = data.decode(), own + literals(tree, names)
            size += len(texts[i])
        own["names"], official["names"] = total(names), total(theirs)
        beyond, excess = beyond + (own - official), excess + size - len(code)
        # Cells get new names, which hold nothing; that of an exercise says that it is one.
        cells = {f"{'solution' if i.startswith('solution-') else 'cell'}-{n}": text for n, (i, text) in enumerate(texts.items(), 1)}
        target, exports = f"notebooks/{module}", {"to": f"tinytorch/{module}.py", "cells": list(cells)}
        staged[f"{target}/{SIDECAR}"] = json.dumps({"notebook": module, "exports": exports}).encode()
        staged[f"{target}/{module}.ipynb"] = json.dumps({"cells": [
            {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": i}}, "source": text} for i, text in cells.items()]}).encode()
    if not staged:
        raise PackageError(f"{MANIFEST}: notebooks is {place!r}, but below it is no notebook of a TinyTorch module "
                           f"with its {SIDECAR}")
    return staged, beyond, max(0, excess)


def new(folder, track, team, mine=None):
    """Write a starter entry, which is the reference, to a new folder; with copies of the notebooks of folder `mine`, if given."""
    folder = Path(folder)
    if folder.exists():
        raise PackageError(f"{folder} is there already and may hold your work: name another folder")
    if not _NAME.fullmatch(team):
        raise PackageError(f"{team!r} is no name: wants up to 40 letters, digits, spaces and . ' & + -")
    books = [] if mine is None else own_notebooks(mine)
    here = Path(__file__).parent / "starter"
    text = (here / MANIFEST).read_text(encoding="utf-8").replace("{track}", track).replace("{team}", team)
    for path in books:
        for name in (path.name, SIDECAR):
            atomic.write(folder / "work" / path.stem / name, (path.parent / name).read_bytes())
    atomic.write(folder / MANIFEST, text.replace("# notebooks =", "notebooks =") if books else text)
    atomic.write(folder / "entry.py", (here / "entry.txt").read_text(encoding="utf-8"))


def own_notebooks(mine):
    """Notebooks that make a module of TinyTorch, in a folder or one below it. Raises PackageError where there is none."""
    found = []
    for path in sorted([*Path(mine).glob("*.ipynb"), *Path(mine).glob("[!.]*/*.ipynb")]):
        try:
            baked = json.loads((path.parent / SIDECAR).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue                    # a notebook of the student's own
        if "exports" in baked and baked.get("notebook") == path.stem:
            found.append(path)
    if not found:
        raise PackageError(f"{mine}: no notebook of a TinyTorch module with {SIDECAR} beside it, there or one folder below")
    return found
