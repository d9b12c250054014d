"""mlsys class ...: what an instructor types, from an empty folder to a report."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .. import atomic
from ..errors import ClassError
from . import app
from .progress import bar

group = typer.Typer(name="class", no_args_is_help=True, rich_markup_mode="markdown", help="""
Run a class: release, collect, grade, give feedback, report.

A term in seven lines:

    mlsys class new ~/mlsys-2026 --instructor prof
    cd ~/mlsys-2026; mlsys class roster students.csv
    mlsys class release tinytorch/01_tensor --due "2026-12-01 23:59 Europe/Berlin"
    mlsys class collect
    mlsys class grade
    mlsys class feedback
    mlsys class report

Every command may be repeated: it does what is left to do. Stock `nbgrader` commands work on the same folder.
""")
app.add_typer(group)

Names = Annotated[list[str] | None, typer.Argument(help="Assignments, such as tinytorch/01_tensor. Without any: all that apply.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be done.")]


@group.callback()
def where(ctx: typer.Context,
          folder: Annotated[Path, typer.Option("-C", "--folder", envvar="MLSYS_CLASS",
                                               help="The class folder, or one below it.")] = Path(".")):
    ctx.obj = folder


def _console():
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = 200                             # of tables, which would lose columns; lines are not wrapped anyway
    return console


def _open(ctx):
    from .. import catalogue
    from ..grading.classroom import Classroom

    classroom = Classroom.open(ctx.obj)
    return classroom, catalogue.load(catalogue.find_root(classroom.root))


def _say(console, lines):
    for line in lines:
        console.print(line, markup=False)


def _table(*columns):
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    return table


def _count(things):
    return ", ".join(f"{n} {state}" for state, n in Counter(things).items()) or "nothing to do"


@group.command()
def new(folder: Annotated[Path, typer.Argument(help="Folder of the class; `.` for this one.")],
        course_id: Annotated[str, typer.Option(help="What nbgrader and the exchange call the class. Default: the course's id.")] = "",
        exchange: Annotated[str, typer.Option(help="Folder through which work passes; all students must be able to write there.")] = "",
        instructor: Annotated[list[str] | None, typer.Option(help="Unix user who may open the formgrader. Repeatable.")] = None,
        simulated: Annotated[bool, typer.Option("--simulated", help="All students are one Unix user: do not check who owns "
                                                                    "a submission.")] = False):
    """Make a class: class.yml, an empty gradebook, the secret that seeds hidden cases.

    The exchange is /srv/nbgrader/exchange for root, and a folder in the class for anyone else. All settings are in
    class.yml, with a comment each.
    """
    from .. import catalogue
    from ..grading.classroom import Classroom
    from ..hub.exchange import SHARED

    if not course_id:
        course_id = catalogue.load(catalogue.find_root(folder)).id
    if not exchange:
        exchange = str(SHARED) if os.geteuid() == 0 and not simulated else "exchange"
    made = Classroom.new(folder, course_id=course_id, exchange=exchange, instructors=instructor or (), check_owner=not simulated)
    console = _console()
    _say(console, [f"class {made.course_id} in {made.root}; exchange {made.exchange}",
                   f"next: mlsys class -C {folder} roster STUDENTS.csv"])
    if made.root.stat().st_mode & 0o007 and not simulated:
        _say(console, [f"other users of this machine can read {made.root}, which will hold solutions and grades: chmod o-rwx {made.root}"])


@group.command()
def roster(ctx: typer.Context,
           file: Annotated[Path, typer.Argument(help="CSV in UTF-8 with a header line: id,first_name,last_name,email. Only id "
                                                     "is needed.")],
           remove: Annotated[bool, typer.Option("--remove", help="Take out who is not in the file and has no submission.")] = False,
           dry_run: DryRun = False):
    """Put students into the gradebook. Those who are not in the file stay, unless --remove."""
    from ..grading import roster as r

    classroom, _ = _open(ctx)
    students = r.read(file)
    with classroom.at_work():
        changes = r.apply(classroom, students, remove=remove, dry_run=dry_run)
    console = _console()
    for state in ("added", "changed", "removed", "kept"):
        names = [c.student for c in changes if c.state == state]
        if names:
            said = "not in the file, kept (--remove takes them out)" if state == "kept" else state
            _say(console, [f"{said}: {', '.join(names)}"])
    left = sum(c.state != "removed" for c in changes)
    _say(console, [f"{'would be: ' if dry_run else ''}{left} student{'s' * (left != 1)} on the roster"])


@group.command()
def release(ctx: typer.Context,
            names: Annotated[list[str], typer.Argument(help="Assignments, such as tinytorch/01_tensor.")],
            due: Annotated[str, typer.Option(help='Day, time and zone: "2026-12-01 23:59 Europe/Berlin". Without a zone: UTC.')] = "",
            extension: Annotated[list[str] | None, typer.Option(help="STUDENT=2d (or 36h, 1w; 0 takes it back). Repeatable.")] = None,
            force: Annotated[bool, typer.Option("--force", help="Replace a release whose source has changed since.")] = False,
            dry_run: DryRun = False):
    """Hand assignments out, and set when they are due.

    Repeat it to change a date or to give an extension: a release that is out and unchanged is left alone.
    """
    from ..grading import deadlines
    from ..grading import release as r

    classroom, course = _open(ctx)
    assignments = course.select(names)
    dates = {a.id: deadlines.due(due) for a in assignments} if due else None
    granted = {}
    for text in extension or ():
        student, sign, length = text.partition("=")
        if not sign or not student:
            raise ClassError(f"extension {text!r}: wants STUDENT=LENGTH, such as ada=2d")
        granted[student] = deadlines.duration(length)
    console = _console()
    with classroom.at_work():
        _check_students(classroom, granted)
        with bar(console, "release") as progress:
            done = r.release(classroom, course, assignments, force=force, dry_run=dry_run, progress=progress)
        lines = []
        if not dry_run:
            if dates or granted:
                classroom.set_dates(dates, {a.id: granted for a in assignments} if granted else None)
            lines = r.sync_dates(classroom, course)
    for a, released in zip(assignments, done, strict=True):
        when = (dates or {}).get(released.assignment) or classroom.due.get(released.assignment)
        said = {"same": "is out already, unchanged", "replaced": "replaced; students who fetched it keep their copy",
                "rekeyed": "is out already; its hidden cases or keys have changed, and `mlsys class grade` will grade again"}
        date = f"due {when}{', which is past' * (when.at < datetime.now(UTC))}" if when else "no due date"
        _say(console, [f"{a.name}: {said.get(released.state, released.state)}; {date}"])
    _say(console, [line for line in lines if " is due " not in line])
    for student, delta in granted.items():
        _say(console, [f"{student}: {f'{deadlines.spell(delta)} more' if delta else 'extension taken back'}"])


def _check_students(classroom, names):
    import difflib

    with classroom.gradebook() as gb:
        known = {s.id for s in gb.students}
    for name in names:
        if known and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ClassError(f"student {name!r} is not on the roster{f'; did you mean {near[0]}?' if near else ''}")


@group.command()
def collect(ctx: typer.Context, names: Names = None,
            before_due: Annotated[bool, typer.Option("--before-due", help="Prefer the latest submission in time to the latest.")] = False,
            trust_timestamps: Annotated[bool, typer.Option("--trust-timestamps", help="Believe the times that submissions carry: for an "
                                                           "exchange that was restored, where arrivals mean nothing.")] = False,
            dry_run: DryRun = False):
    """Fetch the latest submission of every student from the exchange. A newer one replaces the one collected before.

    Links are not followed, limits hold, and a time that was not the time of arrival does not count.
    """
    from ..grading import collect as c
    from ..grading.release import sync_dates

    classroom, course = _open(ctx)
    classroom.check_exchange()
    assignments = course.select(names) if names else [a for a in course.assignments if (classroom.outbound / a.id).is_dir()]
    if not assignments:
        raise ClassError("nothing is released yet: `mlsys class release NAME`")
    console = _console()
    with classroom.at_work():
        sync_dates(classroom, course)
        for a in assignments:
            with bar(console, f"collect {a.name}") as progress:
                found = c.collect(classroom, a.id, before_due=before_due, trust_stamps=trust_timestamps, dry_run=dry_run,
                                  progress=progress)
            _say(console, [f"{a.name}: {_count(f.state for f in found)}"])
            _say(console, [f"  {f.student}: {note['note']}" for f in found for note in f.notes])


@group.command()
def grade(ctx: typer.Context, names: Names = None,
          student: Annotated[list[str] | None, typer.Option(help="Only this student. Repeatable.")] = None,
          jobs: Annotated[int | None, typer.Option(min=1, help="Submissions at a time. Default: one for each processor.",
                                                   show_default=False)] = None,
          force: Annotated[bool, typer.Option("--force", help="Grade again what is graded and unchanged.")] = False,
          unsafe: Annotated[bool, typer.Option("--unsafe", help="Run students' code WITHOUT a sandbox where there is none. Every "
                                                                "report says so.")] = False):
    """Run the collected submissions in the box, judge what they recorded, and write the gradebook.

    Only new and changed submissions are run. Stopped half-way, it goes on where it was.
    """
    from ..grading import late
    from ..grading.grade import grade as run
    from ..grading.release import sync_dates

    classroom, course = _open(ctx)
    collected = {p.name for p in (classroom.root / "submitted").glob("*/*") if p.is_dir()}
    assignments = course.select(names) if names else [a for a in course.assignments if a.id in collected]
    if not assignments:
        raise ClassError("nothing is collected yet: `mlsys class collect`")
    console = _console()
    if unsafe:
        console.print("--unsafe: students' code may run without a sandbox, with all your rights", style="bold red")
    with classroom.at_work():
        _check_students(classroom, student or ())
        sync_dates(classroom, course)
        with bar(console, "grade") as progress:
            records = run(classroom, course, assignments, students=student or None, jobs=jobs, force=force, unsafe=unsafe,
                      progress=progress)
        with classroom.gradebook() as gb:
            for a in assignments:
                late.refresh(gb, classroom.late, a.id)
    _graded(console, assignments, records)


def _graded(console, assignments, records):
    from ..grading.judge import unscored

    table = _table("assignment", "submissions>", "mean>", "of>", "fates", "worth a look")
    for a in assignments:
        mine = [r for r in records if r["assignment"] == a.id]
        fates = Counter(r["fate"] for r in mine)
        flagged = sorted({r["student"] for r in mine if r.get("flags")})
        mean = f"{sum(r['score'] for r in mine) / len(mine):.1f}" if mine else "–"
        table.add_row(a.name, str(len(mine)), mean, f"{a.points:g}", ", ".join(f"{n} {f}" for f, n in fates.most_common()),
                      ", ".join(flagged[:6]) + (f" and {len(flagged) - 6} more" if len(flagged) > 6 else ""))
    console.print(table)
    left = Counter(i["note"] for r in records for i in unscored(r))
    for note, n in left.items():
        console.print(f"{n} check{'s' if n > 1 else ''} {note}", style="yellow", markup=False)


@group.command()
def feedback(ctx: typer.Context, names: Names = None,
             student: Annotated[list[str] | None, typer.Option(help="Only this student. Repeatable.")] = None):
    """Make a page for every graded submission and release it to the student. Pages that changed since are released again."""
    from ..grading import feedback as f
    from ..grading.release import prepare_exchange, sync_dates

    classroom, course = _open(ctx)
    assignments = course.select(names) if names else [a for a in course.assignments if f.graded_students(classroom, a.id)]
    if not assignments:
        raise ClassError("nothing is graded yet: `mlsys class grade`")
    console = _console()
    with classroom.at_work():
        prepare_exchange(classroom)
        sync_dates(classroom, course)
        with bar(console, "feedback") as progress:
            pages = f.feedback(classroom, assignments, students=student or None, progress=progress)
    for a in assignments:
        mine = [p for p in pages if p.assignment == a.id]
        _say(console, [f"{a.name}: {_count(p.state for p in mine)}"])
        _say(console, [f"  {p.student}: {p.note}" for p in mine if p.note])


@group.command()
def export(ctx: typer.Context,
           names: Names = None,
           to: Annotated[Path | None, typer.Option(help="File to write. [default: grades.csv, grades-canvas.csv or grades-moodle.csv]",
                                                   show_default=False)] = None,
           format: Annotated[str, typer.Option("--format", "-f", metavar="csv|canvas|moodle",
                                               help="A row for each student and assignment, or what a gradebook imports.")] = "csv",
           match: Annotated[Path | None, typer.Option(help="With canvas or moodle: an export of that gradebook, whose rows and columns are "
                                                           "then used.")] = None,
           partial: Annotated[bool, typer.Option("--partial", help="With canvas or moodle: also scores that a person has not "
                                                                   "finished.")] = False,
           force: Annotated[bool, typer.Option("--force", help="With canvas or moodle: replace a file that is there.")] = False,
           dry_run: DryRun = False):
    """Write grades as CSV, late penalties taken off: all of them, or those that Canvas or Moodle imports.

    `mlsys class export -f canvas --match FILE` takes the numbers of students and assignments from a gradebook that Canvas exported.
    Who is only there or only here is named.
    """
    from ..grading import late, lms
    from ..grading.export import export as run
    from ..grading.release import sync_dates

    if format not in ("csv", *lms.FORMATS):
        raise ClassError(f"--format: got {format!r}; wants csv, {' or '.join(lms.FORMATS)}")
    if format == "csv" and (names or match or partial):
        raise ClassError("names, --match and --partial go with --format canvas or moodle; csv holds all grades")
    classroom, course = _open(ctx)
    to = to or Path("grades.csv" if format == "csv" else f"grades-{format}.csv")
    there = to.exists()
    if there and format != "csv" and not force:
        raise ClassError(f"{to} is there already; choose another name with --to, or add --force")
    if dry_run and format == "csv":
        _say(_console(), [f"would {'overwrite' if there else 'write'} {to}"])
        return
    with classroom.at_work():
        sync_dates(classroom, course)
        with classroom.gradebook() as gb:
            for assignment in gb.assignments:
                late.refresh(gb, classroom.late, assignment.name)
            if format != "csv":
                titles = {a.id: a.title for a in course.select(names or [])}
                made = lms.book(gb, format, titles, section=classroom.course_id, match=match, partial=partial)
        if format != "csv":
            if not dry_run:
                atomic.write(to, made.text, mode=0o600)
            what = f"{made.students} student{'s' * (made.students != 1)}, {made.scores} score{'s' * (made.scores != 1)}"
            _say(_console(), [f"{'would write' if dry_run else 'wrote'} {to}: {what}", *made.left])
            return
        rows = run(classroom, to)
    _say(_console(), [f"{'overwrote' if there else 'wrote'} {to}: {rows} rows"])


@group.command()
def report(ctx: typer.Context, names: Names = None,
           to: Annotated[Path | None, typer.Option(help="File to write. Default: report.html in the class folder.",
                                                   show_default=False)] = None):
    """Write one page about the class.

    Distributions, difficult items, misconceptions, failures and their reasons, what is worth a look, who needs help.
    """
    from ..grading.report import write

    classroom, course = _open(ctx)
    to = to or classroom.root / "report.html"
    there = to.exists()
    with classroom.at_work():
        write(classroom, course, course.select(names or []), to)
    _say(_console(), [f"{'overwrote' if there else 'wrote'} {to}"])


@group.command()
def labs(ctx: typer.Context, names: Names = None,
         to: Annotated[Path | None, typer.Option(help="File to write. Default: labs.html in the class folder.",
                                                 show_default=False)] = None):
    """Write one page about what the class predicted in its labs, and the same numbers as a notebook beside it.

    How far guesses were off, how often intervals held the truth, misconceptions, decisions, time.
    """
    from ..grading.labs import write

    classroom, course = _open(ctx)
    with classroom.at_work():
        chosen = course.select(names or [a.name for a in course.assignments if a.part == "labs"])
        made = write(classroom, course, chosen, to or classroom.root / "labs.html")
    _say(_console(), [f"wrote {made[0]} and {made[1].name}"])


@group.command()
def status(ctx: typer.Context, names: Names = None):
    """Where every assignment stands, counted in students."""
    from ..grading.status import status as run

    classroom, course = _open(ctx)
    console = _console()
    with classroom.logged():
        standings = run(classroom, course.select(names or []))
        with classroom.gradebook() as gb:
            students = len(gb.students)
    _say(console, [f"{classroom.course_id} in {classroom.root}: {students} student{'s' * (students != 1)}; {classroom.late}"])
    table = _table("assignment", "released", "due", "new>", "collected>", "graded>", "by hand>", "feedback>", "late>", "worth a look>")
    for s in standings:
        table.add_row(s.assignment, "yes" if s.released else "no", s.due or "–",
                      *(str(n) if n else "–" for n in (s.waiting, s.collected, s.graded, s.by_hand, s.feedback, s.late, s.flagged)))
    console.print(table)
    for s in standings:
        if s.fates:
            _say(console, [f"{s.assignment}: " + ", ".join(f"{n} {fate}" for fate, n in sorted(s.fates.items()))])


@group.command()
def secret(ctx: typer.Context,
           renew: Annotated[bool, typer.Option("--new", help="Make a new one. All hidden cases change: grade with --force.")] = False):
    """Check the secret that seeds hidden cases, or make a new one."""
    from ..grading.classroom import Classroom

    classroom = Classroom.open(ctx.obj)
    with classroom.at_work():
        if renew:
            classroom.new_secret()
            _say(_console(), ["a new secret; hidden cases change with it: `mlsys class grade --force`"])
        else:
            classroom.secret()
            _say(_console(), [f"{classroom.secret_path} is there and private"])
