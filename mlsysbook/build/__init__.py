"""Author source → nbgrader notebook, sidecar and exported module. `build(course, names)` is all that others call."""

from .. import lean  # noqa: F401  (before nbformat)
from .build import Change, build

__all__ = ["Change", "build"]
