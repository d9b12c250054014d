"""mlsys milestone: train what history trained, on the reference or on one's own code."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def milestone(name: Annotated[str, typer.Argument(help="Milestone, such as xor or mlp; `list` shows them.")],
              folder: Annotated[Path | None, typer.Argument(help="With --mine: a folder of notebooks, or of their folders, or a notebook. "
                                                            "Without it: here.", show_default=False)] = None,
              mine: Annotated[bool, typer.Option("--mine", help="Run on your own modules, those of the notebooks in FOLDER; "
                                                 "others come from the reference.")] = False,
              skip: Annotated[list[str] | None, typer.Option(metavar="MODULE", help="With --mine: take this module, such as autograd, from "
                                                             "the reference. Repeatable.")] = None,
              seed: Annotated[int, typer.Option(min=0, help="Of data, starting values and order.")] = 0,
              control: Annotated[str, typer.Option(metavar="KIND", help="A run that must fail: untrained or shuffled (labels).")] = "",
              data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Train on the files of MNIST or CIFAR-10 that you have "
                                                        "there, not on the shipped digits: mlp and cnn.", show_default=False)] = None,
              plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the plot, .svg or .png.", show_default=False)] = None,
              page: Annotated[bool, typer.Option("--page", help="Write the plot and the figures of the milestone's page.")] = False):
    """Run a milestone in a fresh process: what it measured, whose code it ran on, and whether it passed its gates.

    Exit status 0 if it passed, 1 if not, 2 if it could not be run.
    """
    from .. import catalogue
    from ..milestones import find, milestones

    root = catalogue.find_root()
    if name == "list":
        for m in milestones(root):
            Console(highlight=False).print(f"{m.name:16} {m.title}", markup=False)
        return
    if folder and not mine:
        raise typer.BadParameter(f"got the folder {folder} without --mine, which runs a milestone on the notebooks there")
    command = [sys.executable, str(find(root, name).path), "--seed", str(seed)]
    for option, value in (("--mine", (folder or ".") if mine else None), ("--control", control), ("--data", data),
                          ("--plot", plot)):
        command += [option, str(value)] if value else []
    command += [word for module in skip or () for word in ("--skip", module)] + ["--page"] * page
    # the networks are small: more threads of NumPy's products would mostly wait for each other
    raise typer.Exit(subprocess.run(command, env={"OPENBLAS_NUM_THREADS": "1"} | os.environ).returncode)
