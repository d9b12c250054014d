"""A deck's source: its slides, their notes, and what is wrong with them as file:line."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..errors import CourseError

KINDS = {"predict": "Predict", "exercise": "Exercise", "discuss": "Discuss", "recall": "Recall"}
BOXES = ("key", "example", "caution", "big", "small")
SESSION = (60, 75)                  # minutes that the slides of one session may fill
ACTIVE, FEWEST = 8, 25              # slides on which the class does something, slides of a deck
SHORTEST = 60                       # characters of notes that help somebody who has not written them
TALLEST, USUAL = 80, 58             # height of a figure in per cent of the slide
_FRONT = {"chapter", "title", "subtitle", "sessions"}
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*(?:\{([^{}]*)\})?\s*$")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_DIV = re.compile(r"^\s*(:{3,})\s*(?:\{([^}]*)\}|([\w-]+))?\s*:*\s*$")
HOLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
FIGURE = re.compile(r"^figure:\s*([a-z][a-z0-9-]*)\s*(?:,\s*(\d+)\s*%\s*)?$")
_NUMBER = re.compile(r"^[a-z][a-z0-9-]*$")


class SlideError(CourseError):
    """A deck that cannot be made. Each fault is a line that starts with file:line."""


@dataclass
class Slide:
    """One `##` slide. lines are (number in the file, text) of what is shown; minutes and notes come from its notes."""

    title: str
    line: int
    kind: str = ""
    section: str = ""
    lines: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    minutes: int = 0


@dataclass
class Deck:
    """A deck as it is written. parts are Slides, and (title, line) of `#` headings, in order."""

    path: Path
    shown: str                      # its path for messages
    chapter: str
    title: str
    subtitle: str
    sessions: int
    parts: list = field(default_factory=list)

    @property
    def slides(self):
        return [p for p in self.parts if isinstance(p, Slide)]

    @property
    def minutes(self):
        return sum(s.minutes for s in self.slides)

    @property
    def name(self):
        return self.path.stem

    def per_session(self):
        """Minutes of each session; a `#` heading with {.session} begins the next."""
        found = [0]
        for part in self.parts:
            if isinstance(part, Slide):
                found[-1] += part.minutes
            elif part[2]:
                found.append(0)
        return found


def read(path, root):
    """Read and check the form of a deck -> Deck. Raises SlideError with every fault; numbers and figures are checked by fill."""
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SlideError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    faults = []
    deck, start = _front(path, shown, lines)
    _body(deck, lines, start, faults)
    faults += _form(deck)
    if faults:
        raise SlideError("\n".join(f"{shown}:{line}: {text}" for line, text in sorted(faults)))
    return deck


def _front(path, shown, lines):
    end = lines.index("---", 1) if lines[0] == "---" and "---" in lines[1:] else 0
    try:
        data = yaml.safe_load("\n".join(lines[1:end])) if end else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SlideError(f"{shown}:{mark.line + 2 if mark else 1}: not YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(data, dict) or data.keys() != _FRONT or data["sessions"] not in (1, 2):
        raise SlideError(f"{shown}:1: wants a front matter with chapter, title, subtitle and sessions (1 or 2), and nothing else")
    texts = [str(data[k]).strip() for k in ("chapter", "title", "subtitle")]
    if path.stem != f"vol{texts[0][1:].replace('-', '_')}":
        raise SlideError(f"{shown}:1: is called {path.stem}; the deck of {texts[0]} is vol{texts[0][1:].replace('-', '_')}.md")
    return Deck(path, shown, *texts, data["sessions"]), end + 1


def _body(deck, lines, start, faults):
    """Take the source apart: headings, notes, the rest; fences and boxes must close where they were opened."""
    fence, stack, slide, section = None, [], None, ""
    for number, line in enumerate(lines[start:], start + 1):
        if (mark := _FENCE.match(line)) and (fence is None or mark[1].startswith(fence)):
            fence = None if fence else mark[1]
        elif fence is None and (heading := _HEADING.match(line)) and len(heading[1]) < 3:
            for _, opened in stack:
                faults.append((opened, "a box is not closed before the next slide; close it with :::"))
            stack = []
            words = (heading[3] or "").split()
            if len(heading[1]) == 1:
                section = heading[2]
                if [w for w in words if w != ".session"]:
                    faults.append((number, f"a part has {heading[3]!r}; it may have {{.session}}"))
                deck.parts.append((heading[2], number, ".session" in words))
                slide = None
            else:
                slide = Slide(heading[2], number, _kind(words, number, faults), section)
                deck.parts.append(slide)
            continue
        elif fence is None and (div := _DIV.match(line)):
            if div[2] is None and div[3] is None:
                if not stack:
                    faults.append((number, "closes a box that is not open"))
                elif stack.pop()[0] == "notes":
                    continue
            else:
                name = div[3] or next((w[1:] for w in div[2].split() if w.startswith(".")), "")
                if name not in (*BOXES, "notes", "columns", "column"):
                    faults.append((number, f"a box is called {name!r}; there are {', '.join(BOXES)}, columns, column and notes"))
                stack.append((name, number))
                if name == "notes":
                    continue
        if stack and stack[-1][0] == "notes" and slide:
            slide.notes.append((number, line))
        elif slide:
            slide.lines.append((number, line))
            if fence is None and re.match(r"^\s*\. \. \.\s*$", line):
                faults.append((number, "a pause is lost in PPTX; show what comes next on the next slide"))
            if fence is None and re.search(r"!\[[^\]]*\]\(|<[a-zA-Z/]", line.replace("<-", "")):
                faults.append((number, "HTML or an image of its own; figures come from the chapter: {{figure: name}}"))
        elif line.strip():
            faults.append((number, "text stands before the first slide of its part; begin it with ## Title"))
    if fence:
        faults.append((len(lines), "a code block is not closed"))
    faults += [(opened, "a box is not closed; close it with :::") for _, opened in stack]


def _kind(words, number, faults):
    kinds = [w[1:] for w in words if w[1:] in KINDS and w[0] == "."]
    if len(kinds) != len(words) or len(kinds) > 1:
        faults.append((number, f"a slide has {' '.join(words)!r}; it may have one of {', '.join('.' + k for k in KINDS)}"))
    return kinds[0] if kinds else ""


def _form(deck):
    """Faults of notes, of the lesson's plan and of what a deck promises."""
    slides = deck.slides
    for slide in slides:
        yield from _notes(slide)
        if not any(text.strip() for _, text in slide.lines):
            yield slide.line, f"slide {slide.title!r} is empty"
    for first, then in zip(slides, [*slides[1:], None], strict=True):
        if first.kind == "predict" and (then is None or then.kind):
            yield first.line, f"slide {first.title!r} asks for a prediction; the next slide must show what happens"
    active = sum(bool(s.kind) for s in slides)
    if len(slides) < FEWEST or active < ACTIVE:
        yield 1, (f"{len(slides)} slides, {active} of them with a kind; wants {FEWEST} slides and {ACTIVE} of "
                  f"{', '.join('.' + k for k in KINDS)} at least")
    minutes = deck.per_session()
    if len(minutes) != deck.sessions:
        yield 1, f"sessions: {deck.sessions}, but {len(minutes) - 1} parts have {{.session}}; the part that begins the second has it"
    for place, found in enumerate(minutes, 1):
        if not SESSION[0] <= found <= SESSION[1]:
            yield 1, f"session {place} takes {found} min by its notes; wants {SESSION[0]} to {SESSION[1]}"


def _notes(slide):
    where = slide.notes[0][0] - 1 if slide.notes else slide.line
    text = "\n".join(t for _, t in slide.notes).strip()
    if not slide.notes:
        yield where, f"slide {slide.title!r} has no notes; wants ::: notes"
        return
    opening = re.match(r"\[(\d+) min\] \S", text)
    if not opening or not 1 <= int(opening[1]) <= 15:
        yield where, f"notes of {slide.title!r} begin with {text[:20]!r}; wants [N min] and what to say, N from 1 to 15"
        return
    slide.minutes = int(opening[1])
    if len(text) < SHORTEST:
        yield where, f"notes of {slide.title!r} have {len(text)} characters; wants {SHORTEST} or more that help to teach"
    told = {head for head in ("Likely error:", "Ask:") if re.search(rf"^{head} \S", text, re.M)}
    if slide.kind and len(told) < 2 or not told:
        wanted = "a line 'Likely error: …' and a line 'Ask: …'" if slide.kind else "a line 'Likely error: …' or 'Ask: …'"
        yield where, f"notes of {slide.title!r} want {wanted}"
