"""What student code may import in the box: a copy of the student side, and of tinytorch only what earlier modules export."""

import shutil
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
# Files and folders of mlsysbook that the student side consists of; grading, build and hub stay outside.
_STUDENT_SIDE = ("__init__.py", "errors.py", "atomic.py", "answers", "labs", "box/__init__.py", "box/runner.py", "box/watch.py",
                 "box/kernel_worker.py")
_PROJECT = ("mlsysbook", "tinytorch", "mlsysim", "staffml", "boardkit")


def stage(course, assignment):
    """Copy the importable packages into a new folder, readable by all -> Path. The caller removes it."""
    folder = Path(tempfile.mkdtemp(prefix="mlsys-library-"))
    for name in _STUDENT_SIDE:
        _copy(_PACKAGE / name, folder / "mlsysbook" / name)
    for package in ("mlsysim", "staffml"):
        source = _find(package)
        if source is not None:
            _copy(source, folder / package)
    _stage_tinytorch(course, assignment, folder / "tinytorch")
    text = assignment.author_source.read_text(encoding="utf-8")
    if "boardkit" in text or "Firmware" in text:
        _stage_kits(folder)
    if "matplotlib" in text:
        _stage_fonts(folder / "matplotlib")
    return _closed(folder)


def stage_event():
    """The same for the Olympics: the whole of tinytorch, but none of its data -> Path. The caller removes it."""
    folder = Path(tempfile.mkdtemp(prefix="mlsys-library-"))
    for name in (*_STUDENT_SIDE, "olympics/__init__.py", "olympics/inside.py", "olympics/arrays.py"):
        _copy(_PACKAGE / name, folder / "mlsysbook" / name)
    source = _find("tinytorch")
    _copy(source, folder / "tinytorch")
    shutil.rmtree(folder / "tinytorch" / "datasets")
    return _closed(folder)


def _closed(folder):
    """Add the names of the box's one user, and let every user read the folder."""
    etc = folder / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("student:x:65534:65534:student:/tmp:/bin/sh\n")
    (etc / "group").write_text("student:x:65534:\n")
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def _stage_tinytorch(course, assignment, target):
    source = _find("tinytorch")
    if source is None:
        return
    allowed = {Path(p).name for p in course.earlier_exports(assignment)}
    exported = {Path(a.exports).name for a in course.assignments if a.exports}
    target.mkdir()
    for path in source.iterdir():
        if path.name in exported and path.name not in allowed:
            continue
        _copy(path, target / path.name)


def _stage_kits(folder):
    """boardkit, and the sketches and the runner that it looks for beside itself. Their C is text that it compiles."""
    source = _find("boardkit")
    if source is not None:
        _copy(source, folder / "boardkit")
        for name in ("sketches", "runner"):
            shutil.copytree(source.parent / name, folder / name)


def _stage_fonts(target):
    """matplotlib's list of fonts; without it every box would search the system for them before its first plot."""
    import matplotlib

    target.mkdir()
    cache = Path(matplotlib.get_cachedir())
    if not any(cache.glob("fontlist-*.json")):
        import matplotlib.font_manager  # noqa: F401  (writes the list)
    for path in cache.glob("fontlist-*.json"):
        _copy(path, target / path.name)


def _find(package):
    from importlib.util import find_spec

    spec = find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.c", "*.pyx", "*.h", "*.html"))
    elif source.is_file() and source.suffix != ".pyc":
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def shadowed(site_packages):
    """Folders of this project inside site-packages, which a non-editable install makes: the box hides them."""
    return [p / name for p in site_packages for name in _PROJECT if (p / name).is_dir()]
