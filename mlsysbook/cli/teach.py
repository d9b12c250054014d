"""mlsys syllabus, mlsys bank: what a teacher types before a term begins."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import CourseError
from . import app

Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be written.")]


def _put(path, content, said, force, dry_run, console):
    """Write a file that is new, or say why not."""
    from .. import atomic

    if path.exists() and not force:
        raise CourseError(f"{path} is there already; choose another name, or add --force")
    if not path.parent.is_dir():
        raise CourseError(f"{path}: there is no folder {path.parent}; make it first")
    if not dry_run:
        atomic.write(path, content)
    console.print(f"{'would write' if dry_run else 'wrote'} {path}: {said}", markup=False)


@app.command()
def syllabus(
    plan: Annotated[str, typer.Argument(help="foundations, scale, quarter, workshop or seminar.")] = "foundations",
    start: Annotated[str | None, typer.Option(help="First day, such as 2027-01-25. Without it: weeks without dates.")] = None,
    holidays: Annotated[Path | None, typer.Option(help="File with a day or a range a line: 2027-03-15..2027-03-19 Spring break.")] = None,
    days: Annotated[str, typer.Option(help="Days with class.")] = "mon,wed",
    lost: Annotated[str, typer.Option(metavar="shift|merge", help="A week that holidays take whole moves what follows by a week, or is "
                                                                  "taught together with the next.")] = "shift",
    end: Annotated[str | None, typer.Option(help="Last day on which there may be class; a plan that does not fit is an error.")] = None,
    format: Annotated[str | None, typer.Option("--format", "-f", metavar="md|html|ics|csv|json",
                                               help="By the ending of --out where there is one; else md.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; the terminal if not given.")] = None,
    force: Force = False,
):
    """Plan a term from course.yml: what is read, done, built and due, week by week, with the work it takes.

    Chapters that are outlines and labs that are planned say so. A line of warning names weeks that are too full.
    """
    from .. import catalogue
    from ..teach import calendar, formats
    from ..teach.syllabus import syllabus as make

    form = format or (out.suffix.lstrip(".") if out else "md")
    if form not in formats.FORMATS:
        raise calendar.SyllabusError(f"--format: got {form!r}; wants one of {', '.join(formats.FORMATS)}")
    off = {}
    if holidays:
        try:
            off = calendar.holidays(holidays.read_text(encoding="utf-8"), holidays.name)
        except (OSError, UnicodeDecodeError) as error:
            raise calendar.SyllabusError(f"{holidays}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    found = make(catalogue.load(), plan, start=calendar.day(start, "--start") if start else None, days=calendar.weekdays(days),
                 holidays=off, lost=lost, end=calendar.day(end, "--end") if end else None)
    text, console = formats.write(found, form), Console(stderr=not out, highlight=False, soft_wrap=True)
    if out:
        _put(out, text, f"{len(found.sessions)} {found.unit}s", force, False, console)
    else:
        print(text, end="")
    for note in found.notes if out or form in ("ics", "csv", "json") else ():
        console.print(note, markup=False)


@app.command()
def bank(
    out: Annotated[Path, typer.Argument(help="File to write, such as questions.zip.")],
    area: Annotated[str | None, typer.Option(help="Of this area only, such as memory.")] = None,
    level: Annotated[str | None, typer.Option(help="Of this level only, L1 to L6+.")] = None,
    track: Annotated[str | None, typer.Option(help="Of this track only: cloud, edge, mobile, tiny or global.")] = None,
    chapter: Annotated[str | None, typer.Option(help="Of this chapter of the book only, such as V1-13.")] = None,
    variants: Annotated[int, typer.Option(min=1, max=200, help="Variants of each question.")] = 1,
    force: Force = False,
    dry_run: DryRun = False,
):
    """Write StaffML's questions as a QTI 2.1 package, for the question bank of a learning management system.

    An item for each part, with its answer, its limits and what each wrong answer is told. The same questions give the same bytes.
    `staffml bank` writes pages to read instead.
    """
    from staffml.session import chosen, plural
    from staffml.taxonomy import CHAPTERS, complaint

    from ..teach.qti import package

    try:
        line = chapter and complaint("chapter", chapter, tuple(CHAPTERS))
        if line:
            raise ValueError(line)
        templates = [t for t in chosen(area, level, track) if chapter in (None, t.chapter)]
    except ValueError as error:
        raise CourseError(str(error)) from None
    if not templates:
        raise CourseError(f"no question of chapter {chapter} is of that choice; `staffml list` shows what there is")
    content, count = package(templates, variants)
    console = Console(highlight=False, soft_wrap=True)
    _put(out, content, f"{plural(count, 'item')} of {plural(len(templates), 'template')}", force, dry_run, console)


@app.command()
def rubric(names: Annotated[list[str] | None, typer.Argument(help="Assignments, such as labs/v1_13_tail_latency. "
                                                                  "Without any: a list.")] = None):
    """Show how free text is marked: the question and its mark scheme, as the notebook has them. For those who grade."""
    from .. import catalogue
    from ..teach import rubrics

    course, console = catalogue.load(), Console(highlight=False, soft_wrap=True, markup=False)
    if not names:
        found = rubrics.schemes(course)
        for s in found:
            console.print(f"{s.where}  {s.name}  {s.points:g} points")
        console.print(f"{len(found)} rubrics, {sum(s.points for s in found):g} points by hand")
        return
    for name in names:
        for s in rubrics.find(course, name):
            console.print(rubrics.markdown(s, 1).strip() + "\n")
