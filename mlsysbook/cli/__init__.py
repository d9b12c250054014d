"""The `mlsys` command. Each group of verbs is a file here; what they do is in the packages they call."""

import sys

import typer
from rich.console import Console

from ..errors import CourseError

app = typer.Typer(name="mlsys", no_args_is_help=True, add_completion=False, rich_markup_mode="markdown",
                  help="The ML Systems course: build notebooks, run a class, grade in a box, serve a hub.",
                  epilog="Start with `mlsys demo`: a class of simulated students from release to report.")


def main():
    """Entry point: one line and exit status 2 for an error a person can act on, 130 for Ctrl-C."""
    from . import (  # noqa: F401  (each registers its commands)
        ask,
        book,
        build,
        chapters,
        check,
        class_,
        companion,
        demo,
        hub,
        milestone,
        newsletter,
        olympics,
        slides,
        student,
        teach,
        translate,
    )

    console = Console(stderr=True)
    try:
        status = app(standalone_mode=False)             # of typer.Exit, which click turns into a return
        sys.exit(status if isinstance(status, int) else 0)
    except CourseError as error:
        console.print(f"mlsys: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        console.print("mlsys: stopped", style="yellow")
        sys.exit(130)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):      # a usage error of the command line
            console.print(f"mlsys: {error.format_message()}", style="red", markup=False, soft_wrap=True)
            sys.exit(error.exit_code)
        raise
