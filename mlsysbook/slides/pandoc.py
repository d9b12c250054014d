"""pandoc, as a program: Markdown of a deck in, one format out."""

import os
import subprocess

from ..book.build import EPOCH
from .deck import SlideError

READER = "markdown-implicit_figures-tex_math_single_backslash-raw_html+raw_attribute"


def program():
    """Path of pandoc. Raises SlideError where it is not installed."""
    try:
        import pypandoc

        return pypandoc.get_pandoc_path()
    except (ImportError, OSError):
        raise SlideError("slides need pandoc: run `make slides`, or pip install -e '.[slides]'") from None


def version():
    return subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def run(deck, markdown, options, folder, *, text=True):
    """Run pandoc on Markdown in a folder -> what it wrote. Raises SlideError with what it said; a warning is an error."""
    command = [program(), "--from", READER, "--slide-level", "2", "--fail-if-warnings", "--sandbox=false",
               "--syntax-highlighting=none", *options]
    done = subprocess.run(command, input=markdown.encode(), capture_output=True, cwd=folder, env=environment())
    if done.returncode:
        raise SlideError(f"{deck.shown}: pandoc cannot read it: {' '.join(done.stderr.decode(errors='replace').split())[:300]}")
    return done.stdout.decode() if text else done.stdout


def environment():
    """The same bytes whenever and wherever a deck is made."""
    return os.environ | {"SOURCE_DATE_EPOCH": EPOCH, "FORCE_SOURCE_DATE": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8", "max_print_line": "1000",
                         "error_line": "254", "half_error_line": "238"}
