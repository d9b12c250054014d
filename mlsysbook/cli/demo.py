"""mlsys demo: the main job, shown."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from . import app
from .progress import bar


@app.command()
def demo(to: Annotated[Path, typer.Option(help="Folder for the class; emptied if an earlier demonstration made it.")] = Path("build/demo"),
         jobs: Annotated[int | None, typer.Option(min=1, help="Submissions at a time. Default: one for each processor.",
                                                  show_default=False)] = None):
    """Take a class of simulated students from release to report.

    Twelve students work on three assignments, one of each kind: one perfect, one half done, one late, one who crashes, loops,
    copies, tampers, attacks ... They fetch and submit through nbgrader's exchange; their work is run in the box and judged.
    """
    from .. import catalogue
    from .. import demo as d

    console = Console(soft_wrap=True, highlight=False)
    course = catalogue.load()
    started = time.monotonic()

    def say(text):
        console.print(f"{time.monotonic() - started:5.1f} s  {text}")

    classroom, records, page = d.run(to, course, jobs=jobs, say=say, bar=lambda title: bar(console, title))
    say("wrote the report")
    by = {(r["student"], r["assignment"]): r for r in records}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("student", no_wrap=True)
    assignments = course.select(d.ASSIGNMENTS)
    for a in assignments:
        table.add_column(f"{a.notebook}\nof {a.points:g}", justify="right")
    table.add_column("flags", justify="right")
    table.add_column("who", style="dim", no_wrap=True, overflow="ellipsis", max_width=24 if console.width < 110 else 64)
    for s in d.STUDENTS:
        mine = [by[s.id, a.id] for a in assignments]
        table.add_row(s.id, *(f"{r['score']:g}" for r in mine), str(sum(len(r["flags"]) for r in mine) or ""), s.does)
    console.print(table)
    by_hand = sum(i["points"] for r in records if r["student"] == "perfect" for i in r["items"] if i["score"] is None)
    console.print(f"Scores are before the {by_hand:g} points that are given by hand, and before late penalties.")
    console.print(f"class   {classroom.root}\nreport  {page}")
