"""Author source → nbgrader notebook, sidecar and exported module. `build(course, names)` is all that others call."""

from .build import Change, build

__all__ = ["Change", "build"]
