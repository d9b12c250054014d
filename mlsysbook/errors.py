"""Errors a person can act on: one line that says what was found, what was wanted and what to do.

CourseError
├── CatalogueError      course.yml or the folder it describes
├── SourceError         an author's percent source; carries file:line of the cell
├── ClassError          a class folder, its roster, exchange or secret
├── BoxError            no working sandbox
└── HubError            JupyterHub cannot start
"""


class CourseError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""


class CatalogueError(CourseError):
    pass


class SourceError(CourseError):
    """A cell of an author source is wrong. The message starts with `file:line:`."""

    def __init__(self, path, line, message):
        super().__init__(f"{path}:{line}: {message}")
        self.path, self.line = path, line


class ClassError(CourseError):
    pass


class BoxError(CourseError):
    pass


class HubError(CourseError):
    pass
