"""The `staffml` command: practise, review, see how it goes; write templates, build and check them."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(name="staffml", no_args_is_help=True, add_completion=False, rich_markup_mode="markdown",
                  help="Interview drills for machine learning systems, every number computed.",
                  epilog="Start with `staffml drill`. Authors: `staffml new AREA/NAME`, `preview`, `build`, `check`. Exit status: 0 done, "
                         "1 a check fails, 2 bad input.")
out = Console(highlight=False, markup=False, soft_wrap=True)
_STYLES = {"bold": "bold", "question": "cyan", "right": "green", "partial": "yellow", "wrong": "red", "format": "yellow", "key": "dim"}

Area = Annotated[str | None, typer.Option(help="Of this area only, such as memory.")]
Level = Annotated[str | None, typer.Option(help="Of this level only, L1 to L6+.")]
Track = Annotated[str | None, typer.Option(help="Of this track only: cloud, edge, mobile, tiny or global.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Count = Annotated[int, typer.Option(min=1, max=100, help="Items in the round.")]
Sure = Annotated[bool, typer.Option("--confidence/--no-confidence", help="Ask how sure you are of each answer.")]


def _chosen(area=None, level=None, track=None):
    """Templates of an area, level and track. Raises TemplateError when a name is unknown or nothing is left."""
    from .taxonomy import AREAS, LEVELS, TRACKS, complaint
    from .template import TemplateError, load, names

    for what, value, known in (("area", area, AREAS), ("level", level, tuple(LEVELS)), ("track", track, TRACKS)):
        line = value and complaint(what, value, known)
        if line:
            raise TemplateError(line)
    _some()
    found = [t for t in map(load, names()) if area in (None, t.area) and level in (None, t.level) and track in (None, t.track)]
    if not found:
        asked = ", ".join(x for x in (area, level, track) if x)
        raise TemplateError(f"no template is of {asked}; `staffml list` shows what there is")
    return found


def _s(count):
    return "" if count == 1 else "s"


def _some():
    from .template import FOLDER, TemplateError, names

    if not names():
        raise TemplateError(f"{FOLDER} holds no templates; install the course from its repository: make setup")


def _named(name):
    from .template import load, names

    _some()
    return [load(name)] if name else [load(n) for n in names()]


@app.command("list")
def list_(area: Area = None, level: Level = None, track: Track = None, as_json: AsJson = False):
    """List templates, and how they cover areas, levels and tracks."""
    from collections import Counter

    from .taxonomy import AREAS, LEVELS, TRACKS

    found = _chosen(area, level, track)
    if as_json:
        keys = ("name", "title", "area", "topic", "level", "track", "minutes", "chapter", "requires", "kinds")
        out.print(json.dumps([{k: getattr(t, k) for k in keys} | {"parts": len(t.parts)} for t in found], indent=1))
        return
    table = Table("template", "level", "track", "topic", "min", "kinds", "chapter", box=None, pad_edge=False)
    for t in found:
        table.add_row(t.name, t.level, t.track, t.topic, str(t.minutes), ", ".join(t.kinds), t.chapter)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(table)
    for what, known in (("area", AREAS), ("level", LEVELS), ("track", TRACKS)):
        counts = Counter(getattr(t, what) for t in found)
        out.print(f"{len(counts)} of {len(known)} {what}s: " + ", ".join(f"{k} {counts[k]}" for k in known if counts[k]))


@app.command()
def new(name: Annotated[str, typer.Argument(help="AREA/NAME, such as memory/kv_cache.")], track: str = "cloud", level: str = "L2",
        topic: Annotated[str | None, typer.Option(help="A topic of the area; its first if not given.")] = None):
    """Start a template that passes every check, with its closed form, to be changed into your own."""
    from .pools import build
    from .scaffold import new as scaffold

    path, form = scaffold(name, track=track, level=level, topic=topic)
    pool, _ = build(name)
    out.print(f"{path}\n{form}\n{pool}\nchange them, then: staffml preview {name}, staffml build {name}, staffml check {name}")


@app.command("set")
def set_(name: Annotated[str, typer.Argument(help="Of the new assignment drills/NAME.")],
         templates: Annotated[list[str], typer.Argument(help="SHORT=AREA/NAME, such as kv=memory/kv_cache.")],
         title: Annotated[str, typer.Option(help="Of the notebook.")]):
    """Make a graded drill set of several templates: modules/drills/NAME and its entry in course.yml."""
    from mlsysbook import catalogue

    from .drillset import write
    from .template import TemplateError

    pairs = dict(t.split("=", 1) for t in templates if "=" in t)
    if len(pairs) < len(templates):
        raise TemplateError(f"got {' '.join(templates)}; wants SHORT=AREA/NAME, each SHORT once")
    path = write(catalogue.load(), name, title, pairs)
    out.print(f"{path}\nchange its introduction into your own, then: mlsys build drills/{name}")


@app.command()
def preview(template: str, variants: Annotated[int, typer.Option(min=1, max=50)] = 3):
    """Show variants of a template as a student reads them, with every key and all feedback."""
    from mlsysim import units

    from .parts import Choice, Design, Diagnosis, computed
    from .problem import Problem
    from .round import solution
    from .template import load
    from .text import render
    from .variants import accepted, baked

    t = load(template)
    for i, p in accepted(t, variants):
        out.print(f"\n{t.name}, draw {i}: {t.title} ({t.area}/{t.topic}, {t.level}, {t.track}, {t.minutes} min, {t.chapter})", style="bold")
        out.print(str(Problem(baked(t, i, p))) + "\n")
        answers = t.answers(p)
        for part in t.parts:
            if isinstance(part, Design):
                for share, text in part.rubric:
                    out.print(f"  {part.name}  {100 * share:g} %  {render(text, p, t.figures)}")
                continue
            steps = f"  (from {', '.join(part.steps)})" if part.steps else ""
            out.print(f"  {part.name}  {solution(t, p, part, answers)}{steps}", style="green")
            wrong = part.mistakes(p, answers) if computed(part) else {}
            options = part.options(p, *([answers] if isinstance(part, Choice) else [])) if isinstance(part, Choice | Diagnosis) else ()
            numbers = {w.name: n for n, (_, w) in enumerate(options, 1) if w}
            for m in getattr(part, "misconceptions", ()) or getattr(part, "causes", ()):
                if m.name in wrong or m.name in numbers:
                    number = f"{numbers[m.name]}) " if m.name in numbers else ""
                    value = units.format(wrong[m.name], part.unit) if m.name in wrong else m.text
                    out.print(f"    {number}{value}  {100 * m.credit:g} %  {m.name}: {render(m.why, p, t.figures)}")


@app.command()
def build(template: Annotated[str | None, typer.Argument(help="One template; all if not given.")] = None,
          variants: Annotated[int, typer.Option(min=1, help="Vetted variants of each.")] = 200):
    """Vet the variants of templates and write their pools. The same bytes every time."""
    from .pools import POOLS
    from .pools import build as write
    from .template import names

    changed = 0
    for t in _named(template):
        path, new = write(t.name, variants)
        changed += new
        if new:
            out.print(f"{t.name}: {variants} variants")
    if not template:                                # pools of templates that are gone
        for path in POOLS.glob("*/*.json"):
            if path.relative_to(POOLS).with_suffix("").as_posix() not in names():
                path.unlink()
                out.print(f"{path}: removed, its template is gone")
    out.print(f"{changed} pools written, {len(_named(template)) - changed} up to date")


@app.command()
def check(template: Annotated[str | None, typer.Argument(help="One template; all if not given.")] = None):
    """Recompute every variant by two paths, and look for numbers typed in. Exit status 1 if anything is wrong."""
    from .check import check as one
    from .check import check_all
    from .pools import draws
    from .template import names

    wanted = [template] if template else names()
    found = [] if template else check_all()
    variants = 0
    for name in wanted:
        lines = one(name)
        found += lines
        variants += 0 if lines else len(draws(name)["draws"])
    for line in found:
        out.print(line)
    if found:
        raise typer.Exit(1)
    out.print(f"{len(wanted)} template{_s(len(wanted))}, {variants:,} variants: both paths agree, nothing is typed in")


def _say(text, style):
    out.print(f"\n{text}" if style == "question" else text, style=_STYLES.get(style))


def _ask(prompt):
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")
    return out.input(prompt)


def _play(templates, confidence):
    """Ask one fresh variant of each template, and keep what came of it."""
    from .pools import draws, variant
    from .practice import Practice
    from .round import Stopped, item
    from .taxonomy import CHAPTERS

    done, points = 0, 0.0
    with Practice() as practice:
        try:
            for number, template in enumerate(templates, 1):
                draw = practice.fresh(template.name, draws(template.name)["draws"])
                out.rule(f"{number} of {len(templates)}", characters="-")
                answers, seconds = item(template, draw, variant(template, draw), say=_say, ask=_ask, confidence=confidence)
                _, due = practice.record(template, draw, answers, seconds)
                share = sum(a.share for a in answers) / len(answers)
                done, points = done + 1, points + share
                out.print(f"{100 * share:.0f} % in {seconds / 60:.1f} min; to be asked again {_when(due)}")
                out.print("" if share > 1 - 1e-9 else f"to read: {template.chapter} {CHAPTERS.get(template.chapter, '')}\n")
        except (Stopped, EOFError):
            out.print("stopped; this item is not kept")
    out.print(f"{done} item{_s(done)}, {points:.2f} of {done} points")


def _when(due):
    from datetime import UTC, datetime

    days = (due - datetime.now(UTC)).total_seconds() / 86400
    return f"in {days:.0f} days" if days >= 1.5 else "tomorrow" if days >= 0.5 else "today"


@app.command()
def drill(area: Area = None, level: Level = None, track: Track = None, count: Count = 3,
          template: Annotated[str | None, typer.Option(help="This template only.")] = None, confidence: Sure = True):
    """A practice round: asks, reads units, grades with feedback and partial credit, and keeps the attempt."""
    from .practice import Practice

    found = _named(template) if template else _chosen(area, level, track)
    with Practice() as practice:
        tried = {}
        for a in practice.attempts():
            tried[a["template"]] = a["id"]
    order = sorted(found, key=lambda t: (tried.get(t.name, 0), _level(t), t.name))      # new ones first, easy ones first
    _play(list(itertools.islice(itertools.cycle(order), count)), confidence)


def _level(template):
    from .taxonomy import LEVELS

    return tuple(LEVELS).index(template.level)


@app.command()
def due(show: Annotated[bool, typer.Option("--list", help="Only list what is due, and when the rest will be.")] = False,
        count: Count = 10, confidence: Sure = True):
    """Review what is due (FSRS, rated by the grade), each time with new numbers."""
    from .practice import Practice
    from .template import load, names

    with Practice() as practice:
        ready = [(n, d) for n, d in practice.due() if n in names()]
        later = [(n, d) for n, d in practice.upcoming() if (n, d) not in ready and n in names()]
    if show or not ready:
        for name, when in (*ready, *later):
            out.print(f"{name}  {'due' if (name, when) in ready else _when(when)}")
        out.print(f"{len(ready)} due, {len(later)} later" if ready or later else "nothing to review yet; start with: staffml drill")
        return
    _play([load(name) for name, _ in ready[:count]], confidence)


@app.command()
def progress(as_json: AsJson = False):
    """How it goes: by area, level and track, streaks, and how sure you were against how often you were right."""
    from dataclasses import asdict

    from .practice import Practice
    from .practice import progress as add_up

    with Practice() as practice:
        found = add_up(practice.attempts())
    if as_json:
        groups = [{"group": g, "name": n, "attempts": c, "share": s} for (g, n), (c, s) in found.groups.items()]
        out.print(json.dumps(asdict(found) | {"groups": groups}, indent=1))
        return
    if not found.attempts:
        out.print("no attempts yet; start with: staffml drill")
        return
    out.print(f"{found.attempts} item{_s(found.attempts)}; {found.days} day{_s(found.days)} in a row; "
              f"{found.right} right in a row, at best {found.best}")
    table = Table("", "", "items", "points", box=None, pad_edge=False)
    for (group, name), (count, share) in found.groups.items():
        table.add_row(group, name, str(count), f"{100 * share:.0f} %  {'#' * round(20 * share)}")
    out.print(table)
    if found.calibration:
        out.print(f"how sure, and how often right (squared error {found.brier:.2f}; always saying 50 % gives 0.25)")
        for low, high, count, sure, right in found.calibration:
            said = "more sure than right" if sure - right > 0.15 else "less sure than right" if right - sure > 0.15 else ""
            bin_ = f"  {100 * low:3.0f} to {100 * high:3.0f} %"
            out.print(f"{bin_}: {count} answer{_s(count)}, sure {100 * sure:.0f} %, right {100 * right:.0f} %  {said}".rstrip())
    if found.intervals[1]:
        out.print(f"intervals meant to hold the truth nine times in ten: {found.intervals[0]} of {found.intervals[1]} did")
    for name, count in found.mistakes:
        out.print(f"met {count} time{_s(count)}: {name}")


@app.command()
def export(file: Annotated[Path | None, typer.Argument(help="Where to; the terminal if not given.")] = None):
    """Write all attempts and review cards as JSON."""
    from .practice import Practice

    with Practice() as practice:
        text = json.dumps(practice.export(), indent=1)
    if file is None:
        out.print(text)
    else:
        file.write_text(text + "\n", encoding="utf-8")
        out.print(f"{file}: written")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="The class folder, or one below it.")] = Path("."),
           save: Annotated[bool, typer.Option("--save", help="Keep the re-estimated items for `staffml mock`.")] = False,
           as_json: AsJson = False):
    """What a class's graded drills say: how hard each part is, how well it tells strong from weak, which mistakes were made.

    Reads the gradebook and the graded records of `mlsys class grade`. Templates with enough answers get parameters of their own.
    """
    from dataclasses import asdict

    from mlsysbook import catalogue
    from mlsysbook.grading.classroom import Classroom

    from .calibration import responses, summarize, write

    classroom = Classroom.open(folder)
    with classroom.at_work():
        found = summarize(responses(classroom, catalogue.load(catalogue.find_root(classroom.root))))
    path = write(found.items) if save and found.items else None
    if as_json:
        out.print(json.dumps({"students": found.students, "parts": [asdict(p) for p in found.parts],
                              "items": {t: asdict(i) for t, i in found.items.items()}, "few": found.few}, indent=1))
        return
    _class_report(found)
    if path:
        out.print(f"{path}: {len(found.items)} item{_s(len(found.items))}")
    elif save:
        out.print("nothing to save yet")


def _class_report(found):
    from .irt import ENOUGH, level

    table = Table("template", "part", "n", "mean", "with the rest", "most frequent mistakes", box=None, pad_edge=False)
    for p in found.parts:
        mistakes = "; ".join(f"{times} x {why}" for why, times in p.mistakes[:2])
        table.add_row(p.template, p.part, str(p.n), f"{100 * p.share:.0f} %", "" if p.rest is None else f"{p.rest:+.2f}", mistakes)
    out.print(f"{found.students} student{_s(found.students)}. mean: of a part's points; with the rest: correlation with a "
              "student's other drill answers")
    out.print(table)
    if found.items:
        table = Table("re-estimated", "n", "difficulty", "as hard as", "discrimination", box=None, pad_edge=False)
        for name, item in found.items.items():
            table.add_row(name, str(item.responses), f"{item.difficulty:+.2f}", level(item.difficulty), f"{item.discrimination:.2f}")
        out.print(table)
    if found.few:
        out.print(f"uncalibrated, fewer than {ENOUGH} students: " + ", ".join(f"{t} ({n})" for t, n in sorted(found.few.items())))


def main():
    """Entry point: one line and exit status 2 for bad input, 130 for Ctrl-C."""
    try:
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("staffml: stopped\n")
        sys.exit(130)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            sys.stderr.write(f"staffml: {error.format_message()}\n")
            sys.exit(error.exit_code)
        if isinstance(error, ValueError | OSError):
            sys.stderr.write(f"staffml: {error}\n")
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
