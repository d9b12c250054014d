"""What the cells of a chapter hand over, for whoever shows it outside the book: slides, questions, letters.

The cells run once for all. They are looked up in the cache of the book's build, which knows them by their code and by the libraries
they compute with; a chapter that is not there is executed as the build would, and kept for the build.
"""

import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import build
from .build import BookError

PREFIX = "application/papermill.record/"
LIGHT_INK = "#1c1e21"       # of a picture on white: what the page's text is there


@dataclass(frozen=True)
class Picture:
    """A figure of a chapter: SVG as it stands in the page (currentColor is the ink), and its words.

    A live figure gives the picture that the page shows before a control is moved.
    """

    name: str
    svg: str
    alt: str
    caption: str
    label: str              # "Figure 13.2"
    choices: tuple = ()     # what a live figure offers in its lists

    @property
    def size(self):
        """(width, height) in the units of its drawing, in which its letters are 10 to 13 high."""
        return tuple(float(v) for v in re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', self.svg).groups())

    def plain(self, ink=LIGHT_INK):
        """The SVG as a file of its own, with a colour for currentColor."""
        head, _, rest = self.svg.partition(">")
        kept = re.sub(r' (style|width|height|xmlns(:xlink)?)="[^"]*"', "", head)
        width, height = self.size
        names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        whole = f'{kept.replace("<svg", f"<svg {names}", 1)} width="{width:g}" height="{height:g}">{rest}'
        return whole.replace("currentColor", ink)

    def drawn(self, form, ink=LIGHT_INK, zoom=1):
        """The picture as bytes of `form`, "pdf" (text stays text) or "png" (zoom pixels a unit), by librsvg's rsvg-convert.

        Raises BookError where rsvg-convert is missing or cannot draw it.
        """
        program = shutil.which("rsvg-convert")
        if program is None:
            raise BookError("figures outside the book need rsvg-convert: install it (Debian: apt-get install librsvg2-bin)")
        done = subprocess.run([program, "--format", form, "--zoom", f"{zoom:g}"], input=self.plain(ink).encode(), capture_output=True,
                              env=os.environ | {"SOURCE_DATE_EPOCH": build.EPOCH, "TZ": "UTC"})
        if done.returncode:
            raise BookError(f"{self.label} ({self.name}) cannot be drawn: {' '.join(done.stderr.decode(errors='replace').split())[:300]}")
        return done.stdout


@dataclass(frozen=True)
class Outputs:
    """Of one chapter: texts of its numbers, and its pictures, both by the name its cells gave them, in their order."""

    chapter: str
    file: Path
    numbers: dict = field(default_factory=dict)
    figures: dict = field(default_factory=dict)


def outputs(course, chapter, work=None, progress=lambda text: None):
    """Numbers and figures of a chapter, "V1-13" -> Outputs.

    work: the folder of the book's build, which holds the cache (build/book-work). Raises BookError for an unknown or unwritten
    chapter, and for a cell that fails, with its file:line.
    """
    file = source_of(course, chapter)
    work = Path(work) if work else course.root / "build" / "book-work"
    text = file.read_text(encoding="utf-8")
    libraries = build.fingerprint(course.root)
    notebook = _read(file, text)
    found = _cached(work, libraries, notebook)
    if found is None:
        with build._alone(work, progress):
            found = _cached(work, libraries, notebook) or _executed(course, file, work, libraries, progress)
    return collect(chapter, file, found)


def source_of(course, chapter):
    """The file of a chapter by its number. Raises BookError unless the catalogue lists it and its cells are written."""
    known = {c.number: c for c in course.chapters}
    if chapter not in known:
        raise BookError(f"unknown chapter {chapter!r}; course.yml has {course.chapters[0].number} to {course.chapters[-1].number}")
    file = course.root / "book" / f"{known[chapter].file}.md"
    if not file.is_file() or "{code-cell}" not in file.read_text(encoding="utf-8"):
        raise BookError(f"{chapter} is not written yet: {file.relative_to(course.root)} has no cell that computes")
    return file


def collect(chapter, file, notebook):
    """Outputs of an executed notebook."""
    numbers, figures = {}, {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data, glued = output.get("data", {}), output.get("metadata", {}).get("scrapbook")
            if glued and f"{PREFIX}text/html" not in data:          # with HTML it is a link or a field of the page
                numbers[glued["name"]] = ast.literal_eval(data[f"{PREFIX}text/plain"])
            elif not glued and (page := _text(data.get("text/html", ""))).startswith('<figure class="mls-figure'):
                picture = _picture(page, _text(data["text/plain"]))
                figures[picture.name] = picture
    return Outputs(chapter, file, numbers, figures)


def _picture(page, plain):
    name = re.search(r'id="fig-([a-z0-9-]+)"', page)[1]
    svg = page[page.index("<svg"):page.index("</svg>") + len("</svg>")]
    caption = re.search(r"<figcaption>(.*?)</figcaption>", page, re.S)[1]
    label, _, alt = re.match(r"(Figure(?: [\d.]*\d)?)(\. )(.*)", plain, re.S).groups()
    caption = html.unescape(re.sub(r'<span class="mls-label">.*?</span>|<[^>]+>', "", caption)).strip()
    return Picture(name, svg, alt, caption, label, tuple(map(html.unescape, re.findall(r"<option[^>]*>([^<]*)</option>", page))))


def _text(value):
    """A notebook holds a text as one string or as its lines."""
    return value if isinstance(value, str) else "".join(value)


def _read(file, text):
    """The notebook of a chapter as MyST-NB reads it, so that both find the same one in the cache."""
    try:
        from myst_nb.core.read import read_myst_markdown_notebook
    except ImportError:
        raise BookError("Jupyter Book is not installed here: run `make setup`, or pip install -e '.[book]'") from None
    return read_myst_markdown_notebook(text, add_source_map=True, path=file)


def _cached(work, libraries, notebook):
    from jupyter_cache import get_cache

    folder = work / "cache" / libraries
    if not (folder / "global.db").is_file():
        return None
    cache = get_cache(folder)
    try:
        return cache.get_cache_bundle(cache.match_cache_notebook(notebook).pk).nb
    except KeyError:
        return None


def _executed(course, file, work, libraries, progress):
    """Run the cells in a process of their own, under the environment of the build, and keep them in its cache."""
    progress(f"executing {file.relative_to(course.root / 'book')}")
    said = []
    status, log = build.run([sys.executable, "-m", "mlsysbook.book.outputs", str(file), str(build._cache(work, libraries))],
                            build.environment(work), said.append)
    if status:
        raise BookError(f"{file.relative_to(course.root)}:1: its cells cannot be run: {' '.join(log.split())[-300:]}")
    if failed := json.loads("".join(said))["failed"]:
        line, text = build._fault(str(file), build._COLOUR.sub("", failed).splitlines())
        raise BookError(f"{file.relative_to(course.root)}:{line}: {text}")
    return _cached(work, libraries, _read(file, file.read_text(encoding="utf-8")))


def main(file, folder):
    """Execute a chapter into a cache; says {"failed": traceback or null} on stdout."""
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn
    from jupyter_cache.executors.utils import single_nb_execution

    file = Path(file)
    notebook = _read(file, file.read_text(encoding="utf-8"))
    result = single_nb_execution(notebook, cwd=str(file.parent), allow_errors=False, timeout=300, meta_override=True)
    if result.err is None:
        bundle = CacheBundleIn(notebook, str(file), data={"execution_seconds": result.time})
        get_cache(folder).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    print(json.dumps({"failed": result.exc_string if result.err is not None else None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
