"""mlsys whoami: under which name a student's variant is chosen."""

from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def whoami(name: Annotated[str, typer.Option("--set", metavar="ID", help="The id under which the class knows you; '' forgets it.")] = None):
    """Say which student this notebook takes you for, or set it where your user name is another.

    It chooses your variant of a drill. The grader sets the name itself, so another's name gains nothing.
    """
    from .. import atomic
    from ..answers import identity
    from ..errors import CourseError
    from ..grading.roster import valid_id

    path = identity.whoami_file()
    console = Console(soft_wrap=True, highlight=False)
    try:
        if name == "":
            path.unlink(missing_ok=True)
        elif name is not None:
            if not valid_id(name.strip()):
                raise CourseError(f"student id {name!r}: wants letters, digits, dot, dash, underscore and @, as on the roster")
            atomic.write(path, identity.normal(name) + "\n")
    except OSError as error:
        raise CourseError(f"{path} cannot be written ({error.strerror}): set MLSYS_STUDENT instead") from None
    console.print(identity.identity(), markup=False)
