"""mlsys book: the site, whole or not at all.

Sphinx runs in a process of its own and writes into an empty folder below build/book-work; a site without a single warning then
takes the place of the old one. Three things are kept from run to run: outputs of executed cells, by their content and by the
libraries they compute with (cache/); what Sphinx read, while only chapters change (doctrees/); and the site, by all it is made of.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from .. import atomic, newsletter
from ..companion import build as companion
from ..errors import CourseError
from ..teach import rubrics
from . import _CHAPTER

COMPUTE = {"mlsysim": "sim/mlsysim", "tinytorch": "tinytorch"}
CHAPTERS = [f"mlsysbook/book/{name}.py" for name in ("__init__", *sorted(set(_CHAPTER.values())))]
OTHERS = {"IPython", "matplotlib", "numpy"}
EPOCH = "1767225600"                        # the date of all that is built: 2026-01-01
STAMP = ".mlsys-book"                       # in a site: what it was made of
SKIPPED = {"_build", "__pycache__", "locale", "node_modules", "slides"}
_HELD = set()                               # work folders that this process has locked: waiting for oneself has no end
ENVIRONMENT = ("MLSYS_BOOK_HUB", "MLSYS_BOOK_REPOSITORY", "MLSYS_BOOK_BRANCH")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MESSAGE = re.compile(r"^(?:(?P<file>/[^:\n]+?)(?::(?P<line>\d*))?: )?(?P<kind>WARNING|ERROR|CRITICAL|SEVERE): (?P<text>.*)$")
_FAULT = re.compile(r"^([A-Z]\w*(?:\.\w+)*(?:Error|Exception|Warning|Interrupt|Exit)): ?(.*)$")


class BookError(CourseError):
    """The book cannot be built. Each problem is a line that starts with file:line where there is one."""


@dataclass(frozen=True)
class Built:
    """A site, and whether this run made it or found it up to date."""

    site: Path
    changed: bool


def build(course, *, student=False, out=None, work=None, languages=(), progress=lambda text: None):
    """Build the site into `out`/html (build/book, or build/book-student) -> Built. Raises BookError and leaves what was there.

    languages: what else to build of it, such as "ja": pages with a catalogue, in a folder of that name beside the English ones.
    """
    source, variant = course.root / "book", "student" if student else "full"
    work = Path(work) if work else course.root / "build" / "book-work"
    site = folder(course, student, out) / "html"
    if site.exists() and not (site / STAMP).is_file():
        raise BookError(f"{site}: is there and is no site of this book; move it away, or choose another --out")
    _needs(source)
    check_imports(source)
    libraries = fingerprint(course.root)
    addresses = [os.environ.get(name, "") for name in ENVIRONMENT]
    inputs = _hash(course.root, [*_files(source), *_catalogue(course.root), *companion.inputs(course.root),
                                *newsletter.inputs(course.root)],
                   json.dumps([variant, libraries, _versions(), addresses, rubrics.texts(course.root)]))
    other = {name: _hash(course.root, [*_files(source / "locale" / name)], inputs) for name in languages}
    whole = _hash(course.root, [], json.dumps([inputs, other])) if other else inputs
    if _stamp(site) == whole:
        return Built(site, False)
    with _alone(work, progress):
        made = work / variant / "html"
        if _stamp(made) != inputs:
            prepared = companion.prepare(course)
            sphinx(source, work, variant, "html", made, libraries, progress)
            companion.write(course, made, prepared, progress)
            _feed(course.root, made)
            (made / STAMP).write_text(inputs + "\n")
        builds = {}
        for name, stamp in other.items():
            builds[name] = work / f"{variant}-{name}" / "html"
            if _stamp(builds[name]) != stamp:
                progress(f"building the pages that are translated to {name}")
                _translated(course, work, variant, name, builds[name], libraries, progress)
                companion.translated(course, made, builds[name], name)
                (builds[name] / STAMP).write_text(stamp + "\n")
        progress("putting the site in its place")
        place(made, site, whole, lambda html: _assemble(course.root, html, builds))
    return Built(site, True)


def _feed(root, html):
    """The feed of the newsletter beside its pages."""
    if (html / "newsletter").is_dir():
        (html / "newsletter" / "feed.xml").write_bytes(newsletter.feed(root))


def _translated(course, work, variant, language, target, libraries, progress):
    """The pages of one language; its catalogues are held to the English first."""
    from . import languages, translate

    wrong = [line for name in translate.catalogues(course.root, language) for line in translate.check(course.root, language, name)]
    if wrong:
        raise BookError("\n".join(wrong))
    contents = work / f"{variant}-{language}" / "_toc.yml"
    contents.parent.mkdir(parents=True, exist_ok=True)
    contents.write_text(languages.contents(course, language), encoding="utf-8")
    sphinx(course.root / "book", work, variant, "html", target, libraries, progress, language=language, contents=contents)


def _assemble(root, html, builds):
    if builds:
        from .languages import assemble

        assemble(root, html, builds)


def folder(course, student, out=None):
    """Where a build goes."""
    return Path(out).resolve() if out else course.root / "build" / ("book-student" if student else "book")


def sphinx(source, work, variant, builder, target, libraries, progress, *, language="en", contents=None):
    """Run one builder over the sources into `target`, which is whole afterwards or untouched."""
    home = work / (variant if language == "en" else f"{variant}-{language}")
    trees, new, running = home / f"doctrees-{builder}", home / f"{builder}.new", home / f"{builder}.running"
    shared = [*(p for p in _files(source) if p.suffix != ".md" and p.relative_to(source).parts[0] != "companion"),
              *_catalogue(source.parent)]
    shared += _files(source / "locale" / language)
    settings = _hash(source.parent, shared, json.dumps([libraries, _versions()]))
    if running.exists() or not trees.is_dir() or (trees / "settings").read_text() != settings:
        shutil.rmtree(trees, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)
    trees.mkdir(parents=True, exist_ok=True)
    (trees / "settings").write_text(settings)
    running.touch()                         # a run that does not reach its end leaves nothing that the next one trusts
    options = {"source": str(source), "out": str(new), "doctrees": str(trees), "builder": builder, "fingerprint": libraries,
               "cache": str(_cache(work, libraries)), "tags": ["student"] if variant == "student" else [],
               "language": language, "contents": str(contents or source / "_toc.yml")}
    status, log = run([sys.executable, "-m", "mlsysbook.book.engine", json.dumps(options)], environment(work), told(progress))
    found = problems(log, source)
    if status or found:
        last = " ".join(_COLOUR.sub("", log).split()).rpartition("Extension error")[2].removeprefix(": ")
        raise BookError("\n".join(found) or f"book: Sphinx stopped: {last[-500:] or f'status {status}'}")
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    running.unlink()


def environment(work):
    """Variables under which cells run: the same outputs whoever asks for them, wherever and whenever."""
    return os.environ | {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "MPLBACKEND": "agg",
                         "SOURCE_DATE_EPOCH": EPOCH, "IPYTHONDIR": str(work / "ipython"), "PYTHONWARNINGS": "ignore"}


def told(progress):
    """A function that tells what Sphinx is at, from a line of what it prints."""
    def tell(line):
        if at := re.match(r"(reading sources|writing output)\.\.\. \[\s*(\d+)%\] (\S+)", line):
            progress(f"{at[1].split()[0]} {at[3]} ({at[2]} %)")
        elif at := re.match(r"(\S+?)(?:\.md)?: (Executing|Executed) notebook(?:.* in ([\d.]+) seconds)?", line):
            name = "/".join(at[1].split("/")[-2:])
            progress(f"executing {name}" if at[2] == "Executing" else f"executed {name} in {float(at[3] or 0):.0f} s")

    return tell


def run(command, environment, each_line):
    """Run a command, handing over each line that it prints -> (status, all it wrote to stderr)."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    log = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
    reader.start()
    try:
        for line in process.stdout:                      # universal newlines: a \r ends a line as well
            each_line(line)
        process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    reader.join()
    return process.returncode, "".join(log)


def problems(log, source):
    """What Sphinx complained about, one line each: file:line, then what is wrong."""
    blocks, root, stopped = [], source.parent, set()
    for line in _COLOUR.sub("", log).splitlines():
        if match := _MESSAGE.match(line):
            blocks.append((match, []))
        elif blocks:
            blocks[-1][1].append(line)
    found = []
    for head, rest in blocks:
        file, line, text = head["file"], head["line"], re.sub(r" \[[\w.-]+\]$", "", head["text"])
        if text.startswith("Executing notebook failed"):
            line, text = _fault(file, rest)
            stopped.add(file)
        elif file in stopped and re.match(r"No key '.*' found in glue|Notebook exception traceback saved", text):
            continue                        # what follows from the cell that stopped
        found.append((f"{os.path.relpath(file, root)}:{line or 1}: " if file else "") + text)
    return list(dict.fromkeys(found))


def _fault(file, rest):
    """(line, message) of the error in a cell: a guard names its own place, anything else is found by the cell's text."""
    body = "\n".join(rest)
    kind, message = next((m.groups() for r in reversed(rest) if (m := _FAULT.match(r))), ("the cell stopped", body.strip()[-200:]))
    if own := re.match(r"(?:\S+/)?" + re.escape(Path(file).name) + r":(\d+): (.*)", message):
        return own[1], own[2]
    cell = re.search(r"following cell:\n-+\n(.*?)\n-{10,}", body, re.S)
    at, stopped_at = re.search(r"Cell In\[\d+\], line (\d+)", body), re.search(r"^-+> \d+ (.*)$", body, re.M)
    text = Path(file).read_text(encoding="utf-8")
    start = text.find(cell[1].strip()) if cell else -1
    line = text[:start].count("\n") + int(at[1] if at else 1) if start >= 0 else 1
    return line, f"{kind}: {message or (stopped_at[1].strip() if stopped_at else 'no message')}"


def check_imports(source):
    """Cells compute with what the cache knows, or a change elsewhere would leave stale numbers. Raises BookError."""
    wrong, allowed = [], (*COMPUTE, "mlsysbook.book")
    for path in sorted(source.glob("vol*/*.md")):
        inside = False
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if re.match(r"^[`~:]{3,}", line):
                inside = "{code-cell}" in line
            elif inside and (found := re.match(r"\s*(?:from|import)\s+([\w.]+)", line)):
                name = found[1]
                known = OTHERS | sys.stdlib_module_names
                if name.partition(".")[0] not in known and not any(f"{name}.".startswith(f"{c}.") for c in allowed):
                    wrong.append(f"{path.relative_to(source.parent)}:{number}: imports {name}; a cell may import "
                                 f"{', '.join([*allowed, *sorted(OTHERS)])} and the standard library")
    if wrong:
        raise BookError("\n".join(wrong))


def fingerprint(root):
    """Hash of the libraries that cells compute with: another one, and every cell runs again."""
    files = [p for place in COMPUTE.values() for p in _files(root / place) if p.suffix not in (".so", ".c", ".md")]
    files += [root / name for name in CHAPTERS]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "matplotlib", "ipykernel")]
    return _hash(root, files, json.dumps([sys.version_info[:3], versions]))[:16]


def place(made, site, stamp, finish=lambda html: None):
    """Copy a finished folder to where it belongs, finished and stamped; it takes the place of the old one in one step."""
    site.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=".book-") as near:
        html = shutil.copytree(made, Path(near) / "html")
        finish(html)
        (html / STAMP).write_text(stamp + "\n")
        atomic.move_in(html, site)
    site.chmod(0o755)


def _needs(source):
    try:
        importlib.metadata.version("jupyter-book")
    except importlib.metadata.PackageNotFoundError:
        raise BookError("Jupyter Book is not installed here: run `make book`, or pip install -e '.[book]'") from None
    for name in ("_config.yml", "_toc.yml"):
        try:
            yaml.safe_load((source / name).read_text(encoding="utf-8"))
        except OSError as error:
            raise BookError(f"{source / name}: cannot be read ({error.strerror}); build inside a checkout of the course") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            raise BookError(f"book/{name}:{mark.line + 1 if mark else 1}: not YAML ({getattr(error, 'problem', error)})") from None
    if not (source / "_vendor" / "node_modules" / "mathjax").is_dir():
        raise BookError("MathJax is missing: run `make book`, or npm ci --prefix book/_vendor")


def _versions():
    names = ("jupyter-book", "Sphinx", "myst-nb", "myst-parser", "sphinx-book-theme", "pydata-sphinx-theme", "sphinx-exercise",
             "sphinx-design", "sphinxcontrib-bibtex")
    return [f"{name} {importlib.metadata.version(name)}" for name in names]


def _catalogue(root):
    """What any page may show something of, and what shows it."""
    return [root / "course.yml", root / "mlsysbook/catalogue.py", *sorted((root / "mlsysbook/book").glob("*.py")),
            *sorted((root / "mlsysbook/teach").glob("*.[py]*")), root / "mlsysbook/labs/decision.py"]


def _files(folder):
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not SKIPPED & set(path.parts[len(Path(folder).parts):]):
            yield path


def _hash(root, files, more):
    digest = hashlib.sha256(more.encode())
    for path in files:
        digest.update(f"\n{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _stamp(site):
    path = site / STAMP
    return path.read_text().strip() if path.is_file() else None


def _cache(work, libraries):
    """The cache of cells for these libraries; of the others the latest stays, for whoever goes back and forth."""
    cache = work / "cache" / libraries
    cache.mkdir(parents=True, exist_ok=True)
    os.utime(cache)
    for old in sorted((p for p in cache.parent.iterdir() if p != cache), key=lambda p: p.stat().st_mtime)[:-1]:
        shutil.rmtree(old)
    return cache


@contextmanager
def _alone(work, progress):
    """One build at a time in a work folder. A build that asks for the outputs of a chapter is inside already."""
    work.mkdir(parents=True, exist_ok=True)
    if work in _HELD:
        yield
        return
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of the book")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _HELD.add(work)
        try:
            yield
        finally:
            _HELD.discard(work)
