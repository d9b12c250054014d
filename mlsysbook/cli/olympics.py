"""mlsys olympics: a contest whose every number the organiser measured."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import CourseError
from . import app
from .progress import bar

HELP = """A contest in tracks and events: entries are run again by the organiser in the box, and ranked beside a reference.

An entry is a folder: olympics.toml, code that builds a model and predicts, and, if you like, notebooks with your own TinyTorch.

**Students:** `new` writes an entry that is valid, `check` runs one as the organiser would, on data for practice.

**Organisers:** `open` an event, hand out its open.npz, `submit` what comes in, `run`, `page`. A run that was stopped goes on
where it was. `disqualify` and `appeal` add to the record and take nothing from it. `--simulate 50` shows all of it.

**Scores** are ratios to the reference, which answers the same pictures in turn with the entry; above 1 is better.
latency = exp of the median of log(reference's seconds / entry's), memory = bytes / bytes, accuracy = error / error with
error = (wrong + 1/2) / (asked + 1), all-round = the cube root of their product. A rank is one more than the number of
entries whose whole 95 % interval lies above one's own. Only entries that keep the budgets of their track are ranked; of each team the
latest valid one that came in time counts.
"""

olympics_app = typer.Typer(help=HELP, invoke_without_command=True, rich_markup_mode="markdown")
app.add_typer(olympics_app, name="olympics")

EventFolder = Annotated[Path, typer.Argument(help="The event's folder.")]
EntryName = Annotated[str, typer.Argument(help="An entry, as its folder in submissions/ is called.")]
Reason = Annotated[str, typer.Option("--reason", help="What the page says of it.")]


def _console():
    return Console(soft_wrap=True, highlight=False)


@olympics_app.callback()
def olympics(context: typer.Context,
             simulate: Annotated[int | None, typer.Option(metavar="N", min=8, help="Make up an event with N hand-ins, run it, "
                                                          "and write its page.", show_default=False)] = None,
             to: Annotated[Path, typer.Option(help="With --simulate: folder for the event; emptied if a simulation made it.")] = Path(
                 "build/olympics")):
    if simulate is None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
        return
    if context.invoked_subcommand is not None:
        raise typer.BadParameter(f"--simulate is a whole event: leave out {context.invoked_subcommand}")
    from ..olympics import page as pages
    from ..olympics import simulate as simulation

    console = _console()
    event, handed = simulation.make(to, simulate)
    _run(event, console, None)
    surprises = simulation.surprises(event, handed)
    for text in surprises:
        console.print(f"not as its author said: {text}", markup=False)
    console.print(f"{simulate - len(surprises)} of {simulate} simulated entries ended as their authors said; no student took part")
    console.print(f"page   {pages.write(event)}", markup=False)


@olympics_app.command()
def new(folder: Annotated[Path, typer.Argument(help="New folder for the entry.")],
        track: Annotated[str, typer.Option(help="cloud, edge, mobile or tiny.")] = "tiny",
        team: Annotated[str, typer.Option(help="Name of the team, or yours.")] = "My Team",
        mine: Annotated[Path | None, typer.Option(metavar="NOTEBOOKS", help="Copy your notebooks in, and run on your own TinyTorch.",
                                                  show_default=False)] = None):
    """Write a starter: an entry that is valid, and the reference that all are measured beside."""
    from ..olympics import package, tracks

    package.new(folder, tracks.find(track).name, team, mine)
    _console().print(f"wrote {folder}; try it with: mlsys olympics check {folder}", markup=False)


@olympics_app.command()
def check(folder: Annotated[Path, typer.Argument(help="The entry.")]):
    """Run an entry in the box as the organiser would, on data for practice, and say what would become of it.

    The event has other data and another machine, so what is said here is near what will count, and is not it.
    Exit status 0 if the entry is valid, 1 if it would be disqualified.
    """
    from ..olympics import trial

    console = Console(stderr=True)
    with console.status(f"running {folder}"):
        found = trial.check(folder)
    out = _console()
    out.print(f"code   {found.sha256[:16]}, track {found.track.name}", markup=False)
    if found.fault:
        kind, reason = found.fault
        out.print(f"disqualified: {kind}: {reason}", markup=False, style="red")
        raise typer.Exit(1)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("event", "score", "95 % interval"):
        table.add_column(title, justify="left" if title == "event" else "right")
    for name, (value, low, high) in found.result["scores"].items():
        table.add_row(name, f"{value:.3f}", f"{low:.3f} to {high:.3f}")
    out.print(table)
    out.print(f"valid: {found.result['bytes']:,} of {found.track.bytes:,} bytes, {found.result['accuracy']:.1%} right, the reference "
              f"{found.result['reference_accuracy']:.1%}; scores are ratios to the reference, above 1 is better")


@olympics_app.command("open")
def open_(folder: Annotated[Path, typer.Argument(help="New folder for the event.")],
          name: Annotated[str, typer.Option(help="What the page is called.")] = "Olympics",
          due: Annotated[str, typer.Option(help="Deadline, such as 2026-12-18T18:00+01:00; without a zone UTC. Default: in two weeks.",
                                           show_default=False)] = ""):
    """Open an event: draw its task, and write the open data that everybody gets."""
    from ..olympics import event as events

    try:
        at = datetime.fromisoformat(due) if due else datetime.now(UTC).replace(microsecond=0) + timedelta(days=14)
    except ValueError:
        raise CourseError(f"--due {due!r} is no time: wants one such as 2026-12-18T18:00+01:00") from None
    event = events.create(folder, name, at if at.tzinfo else at.replace(tzinfo=UTC))
    _console().print(f"opened {folder}, due {event.due:%Y-%m-%d %H:%M} UTC; hand out {folder / 'open.npz'}, and keep "
                     f"{folder / 'secret'} to yourself", markup=False)


@olympics_app.command()
def submit(event: EventFolder, folder: Annotated[Path, typer.Argument(help="An entry that came in.")]):
    """Take an entry in: a copy with the time and a hash. Every one is kept; nothing takes another's place."""
    from ..olympics import event as events

    name, note = events.submit(events.Event(event), folder)
    _console().print(f"took it in as {name}" + (f"; but: {note}" if note else ""), markup=False)


@olympics_app.command()
def run(event: EventFolder,
        jobs: Annotated[int | None, typer.Option(min=1, help="Builds at a time; measurements are always one at a time. Default: one for "
                                                 "each processor, at most four.", show_default=False)] = None):
    """Build and measure what has not been, in the box, and write the page. Goes on behind the last line of results.jsonl."""
    from ..olympics import event as events
    from ..olympics import page as pages

    console, opened = _console(), events.Event(event)
    _run(opened, console, jobs)
    console.print(f"page   {pages.write(opened)}", markup=False)


def _run(event, console, jobs):
    from ..olympics import event as events

    with bar(console, "entries") as progress:
        n = events.run(event, jobs=jobs, progress=progress)
    counts = {}
    for e in event.entries():
        counts[e.status] = counts.get(e.status, 0) + 1
    console.print(f"ran {n}: " + ", ".join(f"{k} {v}" for k, v in sorted(counts.items())), markup=False)


@olympics_app.command()
def page(event: EventFolder):
    """Write the leaderboard again from results.jsonl, without running anything."""
    from ..olympics import event as events
    from ..olympics import page as pages

    _console().print(f"page   {pages.write(events.Event(event))}", markup=False)


@olympics_app.command()
def disqualify(event: EventFolder, entry: EntryName, reason: Reason):
    """Disqualify an entry by hand. The reason is on the page, and what was measured stays there."""
    from ..olympics import event as events

    events.rule(events.Event(event), entry, "disqualified", _given(reason))
    _console().print(f"{entry} is disqualified; `mlsys olympics page {event}` shows it", markup=False)


@olympics_app.command()
def appeal(event: EventFolder, entry: EntryName, reason: Reason):
    """Grant an appeal: the next run builds and measures the entry again, from the start. The earlier attempts stay on its page."""
    from ..olympics import event as events

    events.rule(events.Event(event), entry, "appeal", _given(reason))
    _console().print(f"{entry} is run again by `mlsys olympics run {event}`", markup=False)


def _given(reason):
    if not reason.strip():
        raise CourseError("--reason is empty; the page shows it, so say why")
    return reason.strip()
