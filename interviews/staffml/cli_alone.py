"""The verbs of a person alone: drill, review, be interviewed, see how it goes, take it along."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import mock as mocks
from .cli import Area, AsJson, Level, Track, app, named, out

_STYLES = {"bold": "bold", "question": "cyan", "right": "green", "partial": "yellow", "wrong": "red", "format": "yellow", "key": "dim"}
Count = Annotated[int, typer.Option(min=1, max=100, help="Items in the round.")]
Sure = Annotated[bool, typer.Option("--confidence/--no-confidence", help="Ask how sure you are of each answer.")]


def say(text, style):
    """A step's text on the terminal."""
    if style == "rule":
        out.rule(text, characters="-")
    else:
        out.print(f"\n{text}" if style == "question" else text, style=_STYLES.get(style))


def ask(step):
    """A step's question on the terminal, with the clock where there is one -> what was typed."""
    prompt = step.prompt if step.left is None else f"[{mocks.clock(step.left)}] {step.prompt}"
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")
    return out.input(prompt)


@app.command()
def drill(area: Area = None, level: Level = None, track: Track = None, count: Count = 3,
          template: Annotated[str | None, typer.Option(help="This template only.")] = None, confidence: Sure = True):
    """A practice round: asks, reads units, grades with feedback and partial credit, and keeps the attempt.

    Answers carry their unit: 42.9 GB, 40 GiB, 3e-3 s, 12 ms, 85 %. What was never asked comes first.
    """
    from .round import play
    from .session import chosen, in_order
    from .session import drill as steps

    order = in_order(named(template) if template else chosen(area, level, track))
    play(steps(list(itertools.islice(itertools.cycle(order), count)), confidence=confidence), say, ask)


@app.command()
def due(show: Annotated[bool, typer.Option("--list", help="Only list what is due, and when the rest will be.")] = False,
        count: Count = 10, confidence: Sure = True):
    """Review what is due (FSRS, rated by the grade), each time with new numbers.

    All right in the expected time comes back late, half right soon, wrong at once.
    """
    from .round import play
    from .session import drill as steps
    from .session import reviews, when
    from .template import load

    ready, later = reviews()
    if show or not ready:
        for name, at in (*ready, *later):
            out.print(f"{name}  {'due' if (name, at) in ready else when(at)}")
        out.print(f"{len(ready)} due, {len(later)} later" if ready or later else "nothing to review yet; start with: staffml drill")
        return
    play(steps([load(name) for name, _ in ready[:count]], confidence=confidence), say, ask)


@app.command()
def mock(area: Area = None, level: Level = None, track: Track = None,
         minutes: Annotated[int, typer.Option(min=5, max=480, help="In all. An item is closed after 1.5 times its expected minutes.")]
         = mocks.MINUTES,
         items: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = mocks.ITEMS,
         error: Annotated[float, typer.Option(min=0.2, max=1.4, help="Stop when the standard error is so many levels.")] = mocks.ERROR,
         confidence: Sure = True,
         new: Annotated[bool, typer.Option("--new", help="Drop a mock interview that is not over, and begin another.")] = False,
         end: Annotated[bool, typer.Option("--end", help="End the one that is not over, and report on it.")] = False,
         report: Annotated[int | None, typer.Option(help="Only report on this one, by its number.")] = None,
         show: Annotated[bool, typer.Option("--list", help="Only list mock interviews and what came of them.")] = False,
         as_json: AsJson = False):
    """A mock interview: timed, adaptive, no feedback before its end, then a report.

    Each item is the one that tells most about you at the level you have shown so far, from the areas asked least; partial
    credit counts as a fraction. It ends when your level is known closely enough, or after the items, or with the time. The
    report gives your level with an interval, areas, time, misconceptions, and what to read and drill next.

    `q` or a crash loses nothing: `staffml mock` goes on at the same question, and the clock stands still meanwhile. Until a class
    has answered the items (`staffml report --save`), their difficulty is their level, and the report says "uncalibrated".
    """
    from .practice import Practice
    from .round import play
    from .session import chosen

    if show or report is not None:
        with Practice() as practice:
            kept = practice.mocks()
        return _list(kept, as_json) if show else _report(kept, report, as_json)
    def make():
        return mocks.plan(chosen(area, level, track), minutes=minutes, items=items, error=error, confidence=confidence)

    with Practice() as practice:
        running = practice.mock()
        if end and not running:
            raise ValueError("no mock interview is running; staffml mock begins one, staffml mock --list shows those that were")
        if running and (end or (new and make())):
            practice.end_mock(running["id"], "stopped")
    number = running["id"] if end else play(mocks.interview(make, tell=not as_json), say, ask)
    if number is None:
        out.print("staffml mock --end reports on what there is, --new begins another")
    elif end or as_json:
        with Practice() as practice:
            _report(practice.mocks(), number, as_json)


def _list(kept, as_json):
    found = [mocks.report(m) for m in kept]
    if as_json:
        out.print(json.dumps([mocks.data(r) for r in found], indent=1))
        return
    for r in found:
        out.print(mocks.line(r))
    if not found:
        out.print("no mock interview yet; start with: staffml mock")


def _report(kept, number, as_json):
    current = next((m for m in kept if m["id"] == number), None)
    if current is None:
        there = f"1 to {len(kept)}" if kept else "none yet"
        raise ValueError(f"there is no mock interview {number}; staffml mock --list shows {there}")
    found = mocks.report(current)
    if as_json:
        out.print(json.dumps(mocks.data(found), indent=1))
        return
    for step in mocks.said(found):
        say(step.text, step.style)


@app.command()
def progress(as_json: AsJson = False,
             plot: Annotated[Path | None, typer.Option(help="Also draw points by area and your calibration, to FILE.png, .svg or .pdf.",
                                                       metavar="FILE")] = None):
    """How it goes: points by area and level, streaks, mock interviews, and how sure you were against how often you were right.

    Calibration: of the answers you were 80 % sure of, four in five should be right.
    """
    from dataclasses import asdict

    from .practice import Practice
    from .progress import progress as add_up
    from .progress import said, save

    with Practice() as practice:
        found, kept = add_up(practice.attempts()), [mocks.report(m) for m in practice.mocks()]
    drawn = save(found, plot) if plot else None
    if as_json:
        groups = [{"group": g, "name": n, "attempts": c, "share": s} for (g, n), (c, s) in found.groups.items()]
        grid = [{"area": a, "level": v, "attempts": c, "share": s} for (a, v), (c, s) in found.grid.items()]
        out.print(json.dumps(asdict(found) | {"groups": groups, "grid": grid, "mocks": [mocks.data(r) for r in kept]}, indent=1))
        return
    for step in said(found):
        say(step.text, step.style)
    for r in kept:
        out.print(mocks.line(r))
    if drawn:
        out.print(f"{plot}: {drawn}")


@app.command()
def export(file: Annotated[Path | None, typer.Argument(help="Where to; the terminal if not given.")] = None,
           anki: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a deck of questions for Anki instead, FILE.apkg.")] = None,
           variants: Annotated[int, typer.Option(min=1, max=200, help="Variants of each template in the deck.")] = 1,
           area: Area = None, level: Level = None, track: Track = None):
    """Write all attempts, review cards and mock interviews as JSON; or a deck of questions for Anki.

    `staffml export mine.json` keeps what you did. `staffml export --anki staffml.apkg --area memory --variants 3` makes a note of
    each of three variants of every template on memory: question in front, key and feedback behind. Notes keep their identity, so
    import a later export with "update existing notes: always". Anki shows the same numbers again; `staffml due` draws new ones.
    """
    from mlsysbook import atomic

    from .practice import Practice

    if anki and file:
        raise ValueError(f"got {file} and --anki {anki}; wants one of them")
    for path in (file, anki):
        if path and not path.parent.is_dir():
            raise ValueError(f"{path}: there is no folder {path.parent}; make it first")
    if anki:
        from .anki import deck
        from .pools import draws, variant
        from .session import chosen, plural

        notes = [(t, i, variant(t, i)) for t in chosen(area, level, track) for i in draws(t.name)["draws"][:variants]]
        atomic.write(anki, deck(notes))
        out.print(f"{anki}: {plural(len(notes), 'note')}")
        return
    with Practice() as practice:
        text = json.dumps(practice.export(), indent=1)
    if file is None:
        out.print(text)
    else:
        atomic.write(file, f"{text}\n".encode())
        out.print(f"{file}: written")


@app.command()
def bank(folder: Annotated[Path, typer.Argument(help="Where the pages go.")], area: Area = None, level: Level = None, track: Track = None,
         ending: Annotated[str, typer.Option(metavar="md|html", help="Of the pages that find.html links to: as they "
                                                                     "are written, or as a book builds them.")] = "md"):
    """Write the question bank: a page of Markdown a template with one worked variant, an index, and find.html to search them.

    Open FOLDER/find.html in a browser: it needs no network and no server. The same templates give the same bytes.
    """
    from .bank import write
    from .session import chosen, plural

    if ending not in ("md", "html"):
        raise ValueError(f"--ending is {ending!r}; wants md or html")
    templates = chosen(area, level, track)
    _, gone = write(folder, templates, ending)
    for path in gone:
        out.print(f"{path}: removed, its template is not in the bank")
    out.print(f"{folder}: {plural(len(templates), 'template')}; open {folder / 'find.html'}")
