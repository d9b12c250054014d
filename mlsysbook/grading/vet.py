"""A submission folder as it came → the notebook and files that may be graded. Reads hostile files as data, follows no link.

The result is built from the official notebook: its order, its locked cells, its ids, with the student's text in the cells
that are theirs and the student's own extra cells where they stood. So damaged, missing, doubled or edited cells cost
nobody a grade, and each is noted.
"""

import base64
import binascii
import json
import os
import shutil
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.notebooknode import from_dict

MIB = 1 << 20
MAX_NOTEBOOK = 20 * MIB
MAX_CELLS = 2_000
MAX_SOURCE = 2 * MIB
MAX_VALUES = 2_000_000                  # JSON values in a notebook; an empty list of 3 bytes takes 64 in memory
MAX_FILES, MAX_FILE, MAX_TOTAL = 200, 10 * MIB, 50 * MIB
MAX_ENTRIES = 2_000
NO_ANSWER = "YOUR ANSWER HERE"         # what nbgrader leaves for an answer in text; it scores such a text 0 by itself
LIBRARIES = sys.stdlib_module_names | {"numpy", "matplotlib", "IPython", "ipywidgets", "mlsysbook", "mlsysim", "tinytorch", "staffml"}
_IMAGES = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}     # and how such data begins


@dataclass
class Vetted:
    """What is left of a submission. fate: graded, or the reason why the official notebook stands in for it."""

    notebook: object
    fate: str = "graded"
    flags: list = field(default_factory=list)

    def flag(self, kind, note):
        """Note something; its text may hold the student's own, such as a file name."""
        self.flags.append({"kind": kind, "note": "".join(c if c.isprintable() else "?" for c in note)[:300]})


class Unreadable(Exception):
    pass


def vet(official, folder, name):
    """Official notebook (NotebookNode), submission folder, notebook name -> Vetted."""
    vetted = Vetted(None)
    try:
        cells = _read(Path(folder), f"{name}.ipynb", vetted)
    except Unreadable as error:
        vetted.fate = "missing" if str(error).startswith("no notebook") else "damaged"
        vetted.flag("damaged", str(error))
        cells = []
    vetted.notebook = _merge(official, cells, vetted)
    return vetted


def _read(folder, name, vetted):
    path = folder / name
    if not _regular(path):
        if path.is_symlink():
            raise Unreadable(f"{name} is a link, which is not followed")
        others = sorted(p.name for p in folder.iterdir() if p.suffix == ".ipynb" and _regular(p)) if folder.is_dir() else []
        if len(others) != 1:
            raise Unreadable(f"no notebook {name} in the submission" + (f" (there are {', '.join(others)})" if others else ""))
        vetted.flag("damaged", f"the notebook was renamed to {others[0][:80]}; it is graded as {name}")
        path = folder / others[0]
    data = read_file(path, MAX_NOTEBOOK)
    if data is None:
        raise Unreadable(f"{name} is larger than {MAX_NOTEBOOK // MIB} MiB")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Unreadable(f"{name} holds more than {MAX_VALUES} values")
    try:
        nb = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} is not a readable notebook ({type(error).__name__}: {str(error)[:80]})") from None
    if type(nb) is not dict:
        raise Unreadable(f"{name} is not a notebook")
    if nb.get("nbformat") != 4:
        nb = _upgraded(nb, name)
        vetted.flag("damaged", f"{name} was of another notebook format; it was converted to format 4")
    cells = nb.get("cells")
    if type(cells) is not list or not all(type(c) is dict for c in cells):
        raise Unreadable(f"{name} has no list of cells")
    if len(cells) > MAX_CELLS:
        raise Unreadable(f"{name} has {len(cells)} cells, more than {MAX_CELLS}")
    cells = [c for c in map(_cell, cells) if c]
    if sum(len(c["source"]) for c in cells) > MAX_SOURCE:
        raise Unreadable(f"{name} holds more than {MAX_SOURCE // MIB} MiB of text")
    return cells


def _upgraded(nb, name):
    try:
        return json.loads(nbformat.writes(nbformat.convert(from_dict(nb), 4)))
    except Exception as error:          # nbformat raises many kinds on an old or broken notebook; all mean the same here
        n = nb.get("nbformat")
        known = f"notebook format {n}" if type(n) is int and 0 < n < 1000 else "an unknown notebook format"
        raise Unreadable(f"{name} is of {known} and cannot be converted ({type(error).__name__})") from None


def _cell(c):
    source = c.get("source", "")
    if type(source) is list and all(type(t) is str for t in source):
        source = "".join(source)
    if type(source) is not str or c.get("cell_type") not in ("code", "markdown", "raw"):
        return None
    meta = c.get("metadata") if type(c.get("metadata")) is dict else {}
    grader = meta.get("nbgrader") if type(meta.get("nbgrader")) is dict else {}
    clean = {"cell_type": c["cell_type"], "source": source.encode("utf-8", "replace").decode(),
             "id": c.get("id") if type(c.get("id")) is str else None,
             "grade_id": grader.get("grade_id") if type(grader.get("grade_id")) is str else None}
    if c["cell_type"] == "markdown" and type(c.get("attachments")) is dict:
        clean["attachments"] = _images(c["attachments"])
    return clean


def _images(attachments):
    kept, size = {}, 0
    for name, bundle in list(attachments.items())[:20]:
        if type(bundle) is dict and name.isprintable():
            data = {k: v for k, v in bundle.items() if k in _IMAGES and type(v) is str and _is_image(v, _IMAGES[k])}
            size += sum(map(len, data.values()))
            if data and size < 2 * MIB:
                kept[name[:80]] = data
    return kept


def _is_image(text, begins):
    try:
        return base64.b64decode("".join(text.split()), validate=True).startswith(begins)
    except (binascii.Error, ValueError):
        return False


def _merge(official, cells, vetted):
    """The official notebook with the student's text in it."""
    anchors = {c.metadata.nbgrader.grade_id: c for c in official.cells if "nbgrader" in c.metadata}
    by_cell_id = {c.id: gid for gid, c in anchors.items()}
    texts = {c.id for c in official.cells if "nbgrader" not in c.metadata}
    found, extra, at = {}, {None: []}, None
    for c in cells:
        gid = c["grade_id"] if c["grade_id"] in anchors else by_cell_id.get(c["id"])
        if gid is not None and gid not in found:
            found[gid] = c
            at = gid
            extra.setdefault(at, [])
        else:
            if gid is not None:
                vetted.flag("damaged", f"cell {gid} appears more than once; the first is graded")
            extra.setdefault(at, []).append(c)
    made, n = [], 0

    def add_extra(key):
        nonlocal n
        for c in extra.get(key, []):
            n += 1
            kept = c["id"] in texts and c["id"] not in {m["id"] for m in made}
            node = {"cell_type": c["cell_type"], "id": c["id"] if kept else f"student-{n}", "metadata": {}, "source": c["source"]}
            if c["cell_type"] == "code":
                node |= {"outputs": [], "execution_count": None}
            if c.get("attachments"):
                node["attachments"] = c["attachments"]
            made.append(node)

    add_extra(None)
    for gid, anchor in anchors.items():
        node = json.loads(json.dumps(anchor))
        own = found.get(gid)
        theirs = not anchor.metadata.nbgrader.locked
        if own is None:
            if cells:
                vetted.flag("damaged" if theirs else "tamper", f"cell {gid} was missing; it was put back" + (" empty" if theirs else ""))
            if theirs:
                node["source"] = ""
        elif theirs:
            node["source"] = own["source"]
            if own.get("attachments"):
                node["attachments"] = own["attachments"]
        elif own["source"].strip() != anchor.source.strip() or own["cell_type"] != anchor.cell_type:
            vetted.flag("tamper", f"locked cell {gid} was edited; the original was put back")
        if node["cell_type"] == "code":
            node["outputs"], node["execution_count"] = [], None
        elif theirs and not node["source"].strip():
            node["source"] = NO_ANSWER
        made.append(node)
        add_extra(gid)
    return from_dict({"cells": made, "metadata": json.loads(json.dumps(official.metadata)), "nbformat": 4, "nbformat_minor": 5})


def copy_files(folder, target, official_dir, vetted):
    """Copy the student's small regular files to `target`, then the official ones over them. Links and the rest are noted."""
    target, total, count, left = Path(target), 0, 0, []
    for path, size in _walk(Path(folder), vetted, [MAX_ENTRIES]):
        relative = path.relative_to(folder)
        data = read_file(path, MAX_FILE) if count < MAX_FILES and total + size <= MAX_TOTAL else None
        if data is None or total + len(data) > MAX_TOTAL:       # it may have grown since it was looked at
            left.append(str(relative))
            continue
        total, count = total + len(data), count + 1
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        (target / relative).write_bytes(data)
    if left:
        vetted.flag("limit", f"{len(left)} file{'s' if len(left) > 1 else ''} left out, such as {left[0][:80]}: too large or too many")
    for path in sorted(Path(official_dir).iterdir()):
        if path.is_file() and path.suffix != ".ipynb":
            _put_back(path, target / path.name, vetted)
    for name in sorted({p.name.split(".")[0] for p in target.iterdir() if p.suffix == ".py" or p.is_dir()} & LIBRARIES):
        vetted.flag("patched", f"{name} in the submission has the name of a library, and is not imported in its place")


def _put_back(official, theirs, vetted):
    if theirs.is_dir():
        vetted.flag("damaged", f"a folder stood in the place of {official.name}; the official file was put back")
        shutil.rmtree(theirs)
    elif theirs.is_file() and theirs.read_bytes() != official.read_bytes():
        vetted.flag("tamper", f"{official.name} is not as it was released; the official file was put back")
    theirs.write_bytes(official.read_bytes())


def _walk(folder, vetted, budget, depth=0):
    """Plain files below a folder, with their sizes. budget: [entries that may still be looked at]."""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        return
    for e in entries:
        budget[0] -= 1
        if budget[0] < 0:
            if budget[0] == -1:
                vetted.flag("limit", f"more than {MAX_ENTRIES} entries in the submission folder; the rest was not looked at")
            return
        if e.is_symlink():
            vetted.flag("escape", f"link {e.name[:80]} in the submission folder was not followed")
        elif e.is_dir(follow_symlinks=False):
            if depth < 4 and not e.name.startswith("."):
                yield from _walk(Path(e.path), vetted, budget, depth + 1)
        elif not e.is_file(follow_symlinks=False):
            vetted.flag("escape", f"{e.name[:80]} in the submission folder is neither a file nor a folder; it was left out")
        elif not e.name.endswith(".ipynb") and not e.name.startswith("."):
            yield Path(e.path), e.stat(follow_symlinks=False).st_size


def _regular(path):
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def read_file(path, limit):
    """Bytes of a regular file that is no link, or None where it is larger than `limit` or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as f:
        data = f.read(limit + 1)
    return data if len(data) <= limit else None
