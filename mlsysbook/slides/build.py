"""mlsys slides: makes the decks that are out of date, whole or not at all, and an index of them."""

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .. import atomic
from ..book.outputs import outputs
from . import deck as source
from . import fill, pandoc, theme
from .deck import SlideError

FORMATS = ("pdf", "html", "pptx", "notes")
ENDS = {"pdf": ".pdf", "html": ".html", "pptx": ".pptx", "notes": "-notes.pdf"}
TOLD = {"pdf": "PDF", "html": "HTML", "pptx": "PPTX", "notes": "PDF with notes"}
KEYS = ".made.json"
REVEAL = {"dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js", "LICENSE"}


@dataclass(frozen=True)
class Made:
    """One file of a deck, and whether this run made it or found it up to date."""

    path: Path
    changed: bool


def decks(course, chapters=()):
    """Read and check the decks of the chapters given by number or file name, or all -> [Deck]. Raises SlideError."""
    folder = course.root / "book" / "slides"
    paths = {p.stem: p for p in sorted(folder.glob("vol[12]_[0-9][0-9].md"))}
    names = [c.lower() if c.lower().startswith("vol") else f"vol{c[1:].replace('-', '_')}" for c in chapters]
    for name, chapter in zip(names, chapters, strict=True):
        if name not in paths:
            there = ", ".join(f"V{p[3:].replace('_', '-')}" for p in paths)
            raise SlideError(f"{chapter} has no deck in book/slides; there are {there or 'none'}")
    found, faults = [], []
    for path in [paths[n] for n in dict.fromkeys(names)] or paths.values():
        try:
            found.append(source.read(path, course.root))
        except SlideError as error:
            faults.append(str(error))
    if faults:
        raise SlideError("\n".join(faults))
    return found


def build(course, chapters=(), *, themes=theme.NAMES[:1], formats=FORMATS[:3], out=None, work=None, progress=lambda text: None):
    """Make decks into `out` (build/slides)/DECK/THEME.pdf and so on, and index.html -> ([Deck], [Made]). Raises SlideError.

    A file is made again only when its deck, its numbers and figures, its theme or the programs that make it have changed.
    """
    slides, out = course.root / "book" / "slides", Path(out).resolve() if out else course.root / "build" / "slides"
    if out.exists() and not (out / KEYS).is_file() and any(out.iterdir()):
        raise SlideError(f"{out}: is there and holds no slides; move it away, or choose another --out")
    found, faults, filled = decks(course, chapters), [], []
    for deck in found:
        made = outputs(course, deck.chapter, work=work, progress=progress)
        try:
            fill.check(deck, made, course.root)
            filled.append((deck, made))
        except SlideError as error:
            faults.append(str(error))
    if faults:
        raise SlideError("\n".join(faults))
    out.mkdir(parents=True, exist_ok=True)
    known = atomic.read_json(out / KEYS, {"files": {}, "decks": {}})
    keys = known["files"]
    files, tools = [], _tools(slides)
    if "html" in formats:
        _reveal(slides, out)
    for deck, made in filled:
        for name in themes:
            look = theme.load(name, slides / "themes")
            for form in formats:
                path = out / deck.name / f"{name}{ENDS[form]}"
                key = _key(deck, made, look, form, tools)
                changed = keys.get(f"{deck.name}/{path.name}") != key or not path.is_file()
                if changed:
                    progress(f"{deck.chapter} {name} {TOLD[form]}")
                    try:
                        atomic.write(path, _make(course, deck, made, look, form, slides))
                    except SlideError as error:
                        faults.append(str(error))
                        continue
                    keys[f"{deck.name}/{path.name}"] = key
                    known["decks"][deck.name] = [deck.chapter, deck.title, len(deck.slides), deck.per_session()]
                    atomic.write_json(out / KEYS, known, mode=0o644)
                files.append(Made(path, changed))
    if faults:
        raise SlideError("\n".join(dict.fromkeys("\n".join(faults).split("\n"))))
    atomic.write(out / "index.html", index(course, out, known["decks"]))
    return found, files


def chapter_line(course, deck):
    """"Volume I, Chapter 13: Model Serving"."""
    chapter = next(c for c in course.chapters if c.number == deck.chapter)
    return f"{course.title}, Volume {'I' * chapter.volume}, Chapter {int(chapter.number[3:])}"


def _make(course, deck, made, look, form, slides):
    from . import beamer, html, pptx

    line = chapter_line(course, deck)
    if form == "html":
        return html.make(deck, made, line, look, slides)
    if form == "pptx":
        return pptx.make(deck, made, line, look, slides)
    return beamer.make(deck, made, line, look, slides, notes=form == "notes")


def _tools(slides):
    """Hash of what makes every deck: this package, the filter, templates and styles, pandoc, XeLaTeX, librsvg."""
    digest = hashlib.sha256(pandoc.version().encode())
    for path in sorted([*Path(__file__).parent.glob("*.py"), *slides.glob("*.*"), *(slides / "themes").glob("*")]):
        if path.suffix in (".py", ".lua", ".tex", ".html", ".css", ".sty", ".json"):
            digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    digest.update(importlib.metadata.version("pypandoc-binary").encode())
    return digest.hexdigest()


def _key(deck, made, look, form, tools):
    names, figures = fill.used(deck)
    parts = [tools, form, look.name, deck.path.read_text(encoding="utf-8"), [(n, made.numbers[n]) for n in names],
             [(f, made.figures[f].svg, made.figures[f].alt, made.figures[f].label) for f in figures]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _reveal(slides, out):
    """reveal.js beside the decks, so that they need no network."""
    home = slides / "node_modules" / "reveal.js"
    if not home.is_dir():
        raise SlideError("reveal.js is missing: run `make slides`, or npm ci --prefix book/slides")
    for name in sorted(REVEAL):
        atomic.write(out / "reveal" / Path(name).name, (home / name).read_bytes())
    for path in sorted((slides / "themes").glob("*.css")):
        atomic.write(out / "reveal" / path.name, path.read_bytes())


def index(course, out, known):
    """A page that leads to every deck that is there; known is {name: (chapter, title, slides, minutes of each session)}."""
    rows = []
    for name, (chapter, title, slides, minutes) in sorted(known.items()):
        cells = ""
        for look in theme.NAMES:
            there = [(out / name / f"{look}{ENDS[form]}", form) for form in FORMATS]
            cells += f'<td>{" ".join(f"""<a href="{name}/{p.name}">{TOLD[form]}</a>""" for p, form in there if p.is_file())}</td>'
        rows.append(f'<tr><th scope="row">{chapter} {escape(title)}</th><td>{slides}</td>'
                    f'<td>{" + ".join(map(str, minutes))} min</td>{cells}</tr>')
    heads = "".join(f'<th scope="col">{n.capitalize()}</th>' for n in theme.NAMES)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Slides of {escape(course.title)}</title>
<style>body{{font:1rem/1.5 Inter,system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c1e21;background:#fff}}
table{{border-collapse:collapse}}th,td{{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #d0d4da}}a{{color:#1f5f99}}
kbd{{border:1px solid #8a9099;border-radius:3px;padding:0 .3em}}</style></head>
<body><h1>Slides of {escape(course.title)}</h1>
<p>HTML decks run in a browser without a network: <kbd>→</kbd> goes on, <kbd>S</kbd> opens the speaker's notes, <kbd>O</kbd> shows all
slides, <kbd>?</kbd> lists the other keys. PPTX decks can be edited; their notes are in the notes pane.</p>
<table><thead><tr><th scope="col">Deck</th><th scope="col">Slides</th><th scope="col">Sessions</th>{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></body></html>
"""
