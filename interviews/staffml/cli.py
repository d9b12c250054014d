"""The `staffml` command: practise, review, see how it goes; write templates, build and check them."""

import json
import sys
import traceback
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

Area = Annotated[str | None, typer.Option(help="Of this area only, such as memory.")]
Level = Annotated[str | None, typer.Option(help="Of this level only, L1 to L6+.")]
Track = Annotated[str | None, typer.Option(help="Of this track only: cloud, edge, mobile, tiny or global.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _wide(table):
    """Print a table; where nobody's terminal sets a width, with room for the names in it."""
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(table)


def named(name):
    """One template, or all."""
    from .session import every
    from .template import load

    return [load(name)] if name else every()


from . import cli_alone  # noqa: E402, F401  (the verbs of a person alone, which come first)


@app.command("list")
def list_(area: Area = None, level: Level = None, track: Track = None, as_json: AsJson = False):
    """List templates, and how they cover areas, levels and tracks."""
    from collections import Counter

    from .session import chosen
    from .taxonomy import AREAS, LEVELS, TRACKS

    found = chosen(area, level, track)
    if as_json:
        keys = ("name", "title", "area", "topic", "level", "track", "minutes", "chapter", "requires", "kinds")
        out.print(json.dumps([{k: getattr(t, k) for k in keys} | {"parts": len(t.parts)} for t in found], indent=1))
        return
    table = Table("template", "level", "track", "topic", "min", "kinds", "chapter", box=None, pad_edge=False)
    for t in found:
        table.add_row(t.name, t.level, t.track, t.topic, str(t.minutes), ", ".join(t.kinds), t.chapter)
    _wide(table)
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
    from .problem import Problem
    from .template import load
    from .variants import accepted, baked
    from .worked import worked

    t = load(template)
    for i, p in accepted(t, variants):
        out.print(f"\n{t.name}, draw {i}: {t.title} ({t.area}/{t.topic}, {t.level}, {t.track}, {t.minutes} min, {t.chapter})", style="bold")
        out.print(str(Problem(baked(t, i, p))) + "\n")
        for part in worked(t, i, p)["parts"]:
            for share, text in part["rubric"]:
                out.print(f"  {part['name']}  {100 * share:g} %  {text}")
            steps = f"  (from {', '.join(part['steps'])})" if part["steps"] else ""
            if part["answer"]:
                out.print(f"  {part['name']}  {part['answer']}{steps}", style="green")
            for number, value, credit, name, why in part["wrong"]:
                out.print(f"    {f'{number}) ' if number else ''}{value}  {100 * credit:g} %  {name}: {why}")


@app.command()
def build(template: Annotated[str | None, typer.Argument(help="One template; all if not given.")] = None,
          variants: Annotated[int, typer.Option(min=1, help="Vetted variants of each.")] = 200):
    """Vet the variants of templates and write their pools. The same bytes every time."""
    from .pools import POOLS
    from .pools import build as write
    from .template import names

    changed = 0
    for t in named(template):
        path, new = write(t.name, variants)
        changed += new
        if new:
            out.print(f"{t.name}: {variants} variants")
    if not template:                                # pools of templates that are gone
        for path in POOLS.glob("*/*.json"):
            if path.relative_to(POOLS).with_suffix("").as_posix() not in names():
                path.unlink()
                out.print(f"{path}: removed, its template is gone")
    out.print(f"{changed} pools written, {len(named(template)) - changed} up to date")


@app.command()
def check(template: Annotated[str | None, typer.Argument(help="One template; all if not given.")] = None):
    """Recompute every variant by two paths, and look for numbers typed in. Exit status 1 if anything is wrong."""
    from .check import check as one
    from .check import check_all
    from .pools import draws
    from .session import plural
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
    out.print(f"{plural(len(wanted), 'template')}, {variants:,} variants: both paths agree, nothing is typed in")


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
    from .session import plural

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
        out.print(f"{path}: {plural(len(found.items), 'item')}")
    elif save:
        out.print("nothing to save yet")


def _class_report(found):
    from .irt import ENOUGH, level
    from .session import plural

    table = Table("template", "part", "n", "mean", "with the rest", "most frequent mistakes", box=None, pad_edge=False)
    for p in found.parts:
        mistakes = "; ".join(f"{times} x {why}" for why, times in p.mistakes[:2])
        table.add_row(p.template, p.part, str(p.n), f"{100 * p.share:.0f} %", "" if p.rest is None else f"{p.rest:+.2f}", mistakes)
    out.print(f"{plural(found.students, 'student')}. mean: of a part's points; with the rest: correlation with a "
              "student's other drill answers")
    _wide(table)
    if found.items:
        table = Table("re-estimated", "n", "difficulty", "as hard as", "discrimination", box=None, pad_edge=False)
        for name, item in found.items.items():
            table.add_row(name, str(item.responses), f"{item.difficulty:+.2f}", level(item.difficulty), f"{item.discrimination:.2f}")
        _wide(table)
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
        from mlsysbook.errors import CourseError

        where = _author(error)
        if where or isinstance(error, ValueError | OSError | CourseError):
            sys.stderr.write(f"staffml: {where}{getattr(error, 'msg', error) if where else error}\n")
            sys.exit(2)
        raise


def _author(error):
    """"FILE:LINE: kind of error: " where an error comes out of a template or a closed form; nothing where it does not."""
    from .check import CLOSED_FORMS
    from .template import FOLDER

    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        frames.append((error.filename or "", error.lineno))
    own = [f for f in frames if Path(f[0]).is_relative_to(FOLDER) or Path(f[0]).is_relative_to(CLOSED_FORMS)]
    return f"{own[-1][0]}:{own[-1][1]}: {type(error).__name__}: " if own else ""
