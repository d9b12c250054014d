"""What can go wrong between a sketch and its board, each one line: what was found, what was wanted, what to do.

KitError
├── ToolMissing         a program is not installed; says how to install it
├── SketchError         the compiler refuses the sketch; `diagnostics` has file, line and column
├── PlatformMissing     the toolchain has no core for this board
├── TimeLimit           a compiler or tool that did not end in time
├── UsageError          a call that the toolchain or this package does not know
├── BoardError          no such board, or a board that does not answer
├── TargetError         a program that gives no answer: crash, limit, silence
└── ProtocolError       what came over the line is no answer to what was sent
"""


class KitError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""


class ToolMissing(KitError):
    pass


class SketchError(KitError):
    """The sketch does not compile. `diagnostics`: list of Diagnostic, errors first; `report`: the CompileReport, not ok."""

    def __init__(self, message, report=None):
        super().__init__(message)
        self.report = report

    @property
    def diagnostics(self):
        return self.report.diagnostics if self.report else ()


class PlatformMissing(KitError):
    pass


class TimeLimit(KitError):
    pass


class UsageError(KitError):
    pass


class BoardError(KitError):
    pass


class TargetError(KitError):
    pass


class ProtocolError(KitError):
    pass
