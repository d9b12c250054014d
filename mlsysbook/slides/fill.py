"""A deck with the numbers and figures of its chapter in place, as Markdown for pandoc."""

import difflib
import re

import yaml

from ..book.lint import Page, literals, typed_in
from .deck import FIGURE, HOLE, KINDS, TALLEST, USUAL, Slide, SlideError

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+.!|~^$@\"'-])")


def check(deck, outputs, root):
    """Raise SlideError for every number or figure that the chapter does not give, and for results that are typed in."""
    text = outputs.file.read_text(encoding="utf-8")
    inputs, faults = literals(Page(outputs.file, text, outputs.file).code), []
    for part in deck.parts:
        slide = isinstance(part, Slide)
        shown = [(part.line, part.title), *part.lines] if slide else [(part[1], part[0])]
        for number, line in shown:
            faults += ((number, text) for text in _holes(line, outputs, deck.chapter, figures=slide))
            faults += ((number, f"'{value} {unit}' is typed in and no input of the chapter; a result is written {{{{name}}}}")
                       for value, unit in typed_in(HOLE.sub(" ", line), inputs))
        for number, line in part.notes if slide else ():
            faults += ((number, text) for text in _holes(line, outputs, deck.chapter, figures=False))
    if faults:
        raise SlideError("\n".join(f"{deck.shown}:{line}: {text}" for line, text in sorted(faults)))


def _holes(line, outputs, chapter, figures):
    for hole in HOLE.findall(line):
        if hole.startswith("figure"):
            found = FIGURE.match(hole)
            if not figures or not found or line.strip() != f"{{{{{hole}}}}}" or found[2] and not 20 <= int(found[2]) <= TALLEST:
                yield (f"{{{{{hole}}}}}: a figure stands on a line of its own on a slide, as {{{{figure: name}}}} or "
                       f"{{{{figure: name, 50%}}}} of its height, from 20 to {TALLEST}")
            elif found[1] not in outputs.figures:
                yield f"{chapter} has no figure {found[1]!r}{_near(found[1], outputs.figures)}"
        elif hole not in outputs.numbers:
            yield f"{chapter} has no number {hole!r}{_near(hole, outputs.numbers)}"
    for formula in re.findall(r"\$[^$]+\$|`[^`]+`", line):
        if HOLE.search(formula):
            yield f"{formula}: a number stands outside formulas and code, which would read it as their own"


def _near(name, known):
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


def used(deck):
    """(names of numbers, names of figures) of a deck, in order."""
    lines = [line for p in deck.parts for line in ([p.title, *(t for _, t in [*p.lines, *p.notes])] if isinstance(p, Slide) else [p[0]])]
    holes = list(dict.fromkeys(h for line in lines for h in HOLE.findall(line)))
    figures = [FIGURE.match(h)[1] for h in holes if h.startswith("figure")]
    return [h for h in holes if not h.startswith("figure")], list(dict.fromkeys(figures))


def markdown(deck, outputs, chapter, show):
    """The deck as pandoc reads it. show(picture, height) -> lines of Markdown for a figure, height in per cent of the slide."""
    front = {"title": deck.title, "subtitle": deck.subtitle, "chapter": chapter, "lang": "en", "pagetitle": f"{deck.chapter}: {deck.title}"}
    lines = ["---", yaml.safe_dump(front, allow_unicode=True).strip(), "---", ""]
    for part in deck.parts:
        if not isinstance(part, Slide):
            lines += [f"# {numbers(part[0], outputs)}", ""]
            continue
        kind = f' {{.{part.kind} kind="{KINDS[part.kind]}"}}' if part.kind else ""
        lines += [f"## {numbers(part.title, outputs)}{kind}", ""]
        for _, line in part.lines:
            found = FIGURE.match(hole[1]) if (hole := HOLE.fullmatch(line.strip())) else None
            lines += ["", *show(outputs.figures[found[1]], int(found[2] or USUAL)), ""] if found else [numbers(line, outputs)]
        lines += ["", "::: notes", *(numbers(t, outputs) for _, t in _paragraphs(part.notes)), ":::", ""]
    return "\n".join(lines) + "\n"


def _paragraphs(notes):
    """Notes with each of its marked lines as a paragraph."""
    for number, text in notes:
        if re.match(r"(Likely error|Ask):", text):
            yield number, ""
        yield number, text


def numbers(line, outputs):
    """A line with its numbers; what Markdown would take for marks in them is escaped."""
    return HOLE.sub(lambda m: _SPECIAL.sub(r"\\\1", outputs.numbers[m[1]]) if m[1] in outputs.numbers else m[0], line)
