"""mlsys build, mlsys new: what an author types."""

from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def build(names: Annotated[list[str] | None, typer.Argument(help="Assignments, such as tinytorch/01_tensor. All if none is given.")] = None,
          check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if anything built differs from its source.")] = False):
    """Build notebooks in source/ and exported modules from the author sources in modules/.

    The same sources give the same bytes. A mistake in a source is reported as file:line.
    """
    from .. import catalogue
    from ..build import build as run

    course = catalogue.load()
    console = Console()
    with console.status("") as status:
        changes = run(course, course.select(names or []), check=check, progress=lambda text: status.update(f"building {text}"))
    different = [c for c in changes if c.state != "same"]
    for c in different:
        console.print(f"{c.state:8} {c.path.relative_to(course.root)}", highlight=False)
    if check and different:
        console.print(f"{len(different)} of {len(changes)} built files differ; run `mlsys build` and commit the result", style="red")
        raise typer.Exit(1)
    console.print(f"{len(changes) - len(different)} of {len(changes)} files unchanged" if different else f"{len(changes)} files up to date")


@app.command()
def new(kind: Annotated[str, typer.Argument(help="module, lab, drill or chapter")],
        name: Annotated[str, typer.Argument(help="folder name, such as 02_activations, v1_03_constraint or kv_cache; V1-03 for a chapter")],
        title: Annotated[str, typer.Option(help="Title shown to students")] = ""):
    """Start a new module, lab or drill: a source that builds, and its entry in course.yml; or a chapter from its outline."""
    from .. import catalogue
    from ..build.scaffold import scaffold

    course = catalogue.load()
    if kind == "chapter":
        from ..book.new import start

        path = start(course, name).relative_to(course.root)
        Console().print(f"wrote {path} from its outline; `mlsys lint {path}` lists what it lacks", highlight=False, soft_wrap=True)
        return
    path = scaffold(course, kind, name, title)
    full = f"{path.parent.parent.name}/{name}"
    Console().print(f"wrote {path.relative_to(course.root)} and its entry in course.yml; `mlsys build {full}` builds it",
                    highlight=False, soft_wrap=True)
