"""mlsys get, mlsys check: what a student without a class types, and any student before submitting."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def check(notebook: Annotated[Path, typer.Argument(help="The notebook that was fetched, such as 01_tensor/01_tensor.ipynb.")],
          unsafe: Annotated[bool, typer.Option("--unsafe", help="Run without a box, where there is no bubblewrap.")] = False):
    """Run a notebook from top to bottom in the box and show what its visible checks say.

    Hidden cases run when the work is graded, so a full visible score is necessary and not sufficient.
    """
    from ..grading.visible import visible

    console = Console()
    with console.status(f"running {notebook}"):
        shown = visible(notebook, unsafe=unsafe)
    for item in shown.items:
        mark = "[green]right[/]" if item.ok and item.judged else "[green]ready[/]" if item.ok else "[red]not yet[/]"
        console.print(f"{mark:20} {item.name}", highlight=False)
        if not item.ok:
            console.print(item.text, style="dim", markup=False, highlight=False, soft_wrap=True)
    for text in shown.errors:
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    good, total = [i for i in shown.items if i.ok], sum(i.points for i in shown.items)
    console.print(f"{len(good)} of {len(shown.items)} visible checks pass, worth {sum(i.points for i in good):g} of {total:g} points "
                  f"before hidden cases{' (run without a box)' if unsafe else ''}", highlight=False, soft_wrap=True)
    if len(good) < len(shown.items):
        raise typer.Exit(1)


@app.command()
def get(name: Annotated[str, typer.Argument(help="Assignment, such as tinytorch/01_tensor.")],
        to: Annotated[Path | None, typer.Option(help="New folder for it. Default: the assignment's name, here.",
                                                show_default=False)] = None):
    """Get an assignment to work on without a class: the notebook without its solutions.

    In a class, fetch it from the Assignment List instead, so that it can be submitted.
    """
    from .. import catalogue
    from ..build.student import student_copy

    assignment = catalogue.load().find(name)
    path = student_copy(assignment, to or Path(assignment.notebook))
    Console(soft_wrap=True, highlight=False).print(f"wrote {path}; open it with: jupyter lab {path}", markup=False)
