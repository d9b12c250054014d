"""`mlsys book`: the book as a site, as PDF, as EPUB."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def book(
    student: Annotated[bool, typer.Option("--student", help="Leave out solutions, on pages and in their notebooks.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also a PDF of each volume, printed by Chromium.")] = False,
    epub: Annotated[bool, typer.Option("--epub", help="Also an EPUB of the whole book.")] = False,
    language: Annotated[list[str] | None, typer.Option("--language", help="Also the pages that are translated: ja, zh_CN, ko, or all.",
                                                       show_default=False)] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Then serve the site on this machine until Ctrl-C.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for html/, PDF and EPUB. [default: build/book or build/book-student]",
                                             show_default=False)] = None,
):
    """Build the book: run its cells, check its numbers, write a site that needs no server and no network.

    Any warning is an error, and then the site that was there stays. Cells run again only when they or the libraries change.
    """
    from .. import catalogue
    from ..book import build as engine

    course, console = catalogue.load(), Console()
    with console.status("building the book") as status:
        def progress(text):
            if console.is_terminal:
                status.update(text)
            elif not text.startswith(("reading", "writing")):
                console.print(f"book: {text}", highlight=False, soft_wrap=True)

        built = engine.build(course, student=student, out=out, languages=_languages(language), progress=progress)
        files = [built.site / "index.html"]
        if pdf:
            from ..book.pdf import volumes

            files += volumes(course, built.site, progress)
        if epub:
            from ..book.epub import write

            files.append(write(course, built.site.parent, student=student, progress=progress))
    for path in files:
        same = path.parent == built.site and not built.changed
        console.print(f"{path}{' (up to date)' if same else ''}", highlight=False, soft_wrap=True)
    if serve:
        from ..book.serve import run

        run(built.site)


def _languages(given):
    from ..book.translate import LANGUAGES
    from ..errors import CourseError

    for name in given or ():
        if name not in (*LANGUAGES, "all"):
            raise CourseError(f"no language {name!r}; the book has {', '.join(LANGUAGES)}, or all")
    return [name for name in LANGUAGES if name in (given or ()) or "all" in (given or ())]
