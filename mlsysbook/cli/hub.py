"""`mlsys hub`: serve a class with JupyterHub until Ctrl-C."""

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
) -> None:
    """Serve a class with JupyterHub until Ctrl-C: students fetch and submit, instructors have the formgrader."""
    from ..hub.launch import run

    run(folder, host=host, port=port, auth=auth, password_file=password_file, create_users=create_users)
