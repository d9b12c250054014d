"""Talking to nbgrader's API: its answers are logs, ours are one line."""

import re

from ..errors import ClassError

_ENTRY = re.compile(r"^\[(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\] ?", re.MULTILINE)
_SAYS_LITTLE = re.compile(r"There was an error processing assignment|^Please see the|see the error log|see the the above traceback")


def succeed(classroom, what, result):
    """Pass on a result of NbGraderAPI, or raise ClassError with the line that says why, not the traceback."""
    if result["success"]:
        return result
    if result.get("error", "").rstrip().endswith("KeyboardInterrupt"):      # nbgrader's capture_log takes Ctrl-C for an error
        raise KeyboardInterrupt
    parts = _ENTRY.split(result.get("log", ""))
    entries = [text.strip() for level, text in zip(parts[1::2], parts[2::2], strict=True) if level in ("ERROR", "CRITICAL", "FATAL")]
    entries = [e for e in entries if e and not _SAYS_LITTLE.search(e)] or [result.get("error", "").strip() or "no reason given"]
    said = entries[0]                   # what follows from it comes after it
    why = re.sub(r"^(?:\w+\.)+(\w+:)", r"\1", said.splitlines()[-1].strip()) if "Traceback" in said else " ".join(said.split())
    raise ClassError(f"nbgrader {what}: {why}; its whole log is {classroom.root / '.mlsys' / 'log' / 'nbgrader.log'}")
