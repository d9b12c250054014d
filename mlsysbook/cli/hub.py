"""`mlsys hub`: serve a class with JupyterHub until Ctrl-C."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from . import app


@app.command()
def hub(
    folder: Annotated[Path, typer.Argument(help="Class folder, made by `mlsys class new`.")] = Path("."),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="First port to try.")] = 8000,
    auth: Annotated[str | None, typer.Option(help="pam or shared-password. As root pam, otherwise shared-password.",
                                             show_default=False)] = None,
    password_file: Annotated[Path | None, typer.Option(help="Shared passwords: students' on line 1, instructors' on line 2.",
                                                       show_default=False)] = None,
    create_users: Annotated[bool, typer.Option("--create-users", help="As root: make missing Unix users of the class.")] = False,
    trial: Annotated[bool, typer.Option("--try", help="Make a small class in build/hub and serve that; as root with the Unix users "
                                                      "mlsys-teacher and mlsys-student, otherwise with yourself.")] = False,
) -> None:
    """Serve a class with JupyterHub until Ctrl-C: students fetch and submit, instructors have the formgrader."""
    from ..hub.launch import run

    if trial:
        from .. import catalogue
        from ..hub.trial import make

        course = catalogue.load()
        folder = make(course, course.root / "build" / "hub", partial(print, flush=True))
        auth, create_users = auth or "shared-password", os.geteuid() == 0
    run(folder, host=host, port=port, auth=auth, password_file=password_file, create_users=create_users)
