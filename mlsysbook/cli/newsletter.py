"""`mlsys newsletter`: issues as mail, message and feed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def newsletter(
    issue: Annotated[str | None, typer.Argument(help="Such as 2026-11-box; all of them if left out.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Folder for .html, .txt, .eml and feed.xml.")] = Path("build/newsletter"),
    site: Annotated[str | None, typer.Option(help="Address of the book on the web, which links then lead to.", show_default=False)] = None,
):
    """Make mails and a feed of the newsletter's issues. Nothing is sent: sender and readers of the .eml are examples to replace."""
    from .. import catalogue
    from .. import newsletter as made

    for path in made.publish(catalogue.load().root, out, issue, site):
        Console().print(str(path), highlight=False, soft_wrap=True)
