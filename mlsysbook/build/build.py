"""mlsys build: author sources → source/, sidecars and exported modules; with check=True, tell what differs instead."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from .. import atomic
from ..catalogue import SIDECAR
from . import export, notebook
from .reference import load


@dataclass(frozen=True)
class Change:
    """One built file and what happened to it: "written", "same", "differs", "missing" or "stray"."""

    path: Path
    state: str


def build(course, assignments, *, check=False, progress=lambda text: None):
    """Build `assignments` of `course` -> list of Change. With check, nothing is written."""
    changes = []
    for a in assignments:
        progress(a.name)
        wanted = outputs(course, a)
        for path, text in wanted.items():
            changes.append(_put(path, text, check))
        changes += _strays(a, wanted, check)
    return changes


def outputs(course, a):
    """Every file that assignment `a` is built into -> {path: text}."""
    ref = load(course, a)
    nb = notebook.notebook(ref)
    notebook.validate(ref, nb)
    files = {a.notebook_path: notebook.dump(nb),
             a.source_dir / SIDECAR: json.dumps(notebook.sidecar(ref), indent=1, sort_keys=True, ensure_ascii=False) + "\n"}
    text = export.module(ref)
    if text is not None:
        files[course.root / a.exports] = text
    for extra in sorted(a.author_source.parent.iterdir()):
        if extra.is_file() and extra != a.author_source and not extra.name.startswith("."):
            files[a.source_dir / extra.name] = extra.read_bytes()
    return files


def _put(path, text, check):
    data = text if isinstance(text, bytes) else text.encode()
    old = path.read_bytes() if path.is_file() else None
    if old == data:
        return Change(path, "same")
    if check:
        return Change(path, "missing" if old is None else "differs")
    atomic.write(path, data)
    return Change(path, "written")


def _strays(a, wanted, check):
    if not a.source_dir.is_dir():
        return []
    found = [p for p in sorted(a.source_dir.iterdir()) if p not in wanted and p.name != ".ipynb_checkpoints"]
    if not check:
        for p in found:
            shutil.rmtree(p) if p.is_dir() else p.unlink()
    return [Change(p, "stray") for p in found]
