"""Talking to nbgrader's API: its answers are logs, ours are one line."""

import re

from ..errors import ClassError

_LINE = re.compile(r"^\[(?:ERROR|CRITICAL|FATAL)\]\s*(.*)$", re.MULTILINE)


def succeed(classroom, what, result):
    """Pass on a result of NbGraderAPI, or raise ClassError with the line that says why, not the traceback."""
    if result["success"]:
        return result
    said = [line for line in _LINE.findall(result.get("log", "")) if line.strip()]
    traceback = [line for line in result.get("error", "").strip().splitlines() if line.strip()]
    why = (said or traceback or ["no reason given"])[-1]
    if traceback and "see the" in why.lower():
        why = next((line for line in reversed(said) if "see the" not in line.lower()), traceback[-1])
    raise ClassError(f"nbgrader {what}: {why}; its whole log is {classroom.root / '.mlsys' / 'log' / 'nbgrader.log'}")
