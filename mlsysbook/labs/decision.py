"""decision: a claim, the answers it rests on, the limit that binds, what was rejected and what may still go wrong."""

import difflib
from fractions import Fraction

from ..answers import mode
from ..answers.identity import sidecar

TEXTS = ("claim", "rejected", "risk")
FIELDS = ("claim", "binding", "evidence", "rejected", "risk")
WORDS = 4                               # a text of fewer says nothing
EVIDENCE = 3
SHARES = Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)       # of its points: the limit, the evidence, the sentences


class DecisionIncomplete(ValueError):
    """A part of a decision is missing or cannot be read. Shown in a notebook as its message alone."""

    def _render_traceback_(self):
        return [str(self)]


def decision(*, claim, binding, evidence, rejected, risk):
    """A decision as plain data, for the variable that the cell asks for.

    claim: what you would build, and why, in a sentence. binding: the limit that decides, one of the names the cell lists. evidence:
    the names of three answers of yours that show it. rejected: the alternative you turned down, with its reason. risk: what
    could still prove you wrong.
    """
    return {"claim": claim, "binding": binding, "evidence": evidence, "rejected": rejected, "risk": risk}


def decided(name, made):
    """Record decision `name`. Says whether it is complete, never whether it is right. Raises DecisionIncomplete in one line."""
    if mode.handler is not None:
        mode.handler.decided(name, made)
        return
    asked = sidecar().get("decisions", {}).get(name, {})
    if wrong := incomplete(made, asked.get("options"), asked.get("evidence")):
        raise DecisionIncomplete(f"{name}: {wrong}")
    print(f"{name}: recorded; {made['binding']} binds, shown by {', '.join(made['evidence'])}")


def incomplete(made, options=None, answers=None):
    """What is missing of a decision, in one line, or None."""
    if type(made) is not dict or set(made) != set(FIELDS):
        return "no decision yet; assign decision(claim=..., binding=..., evidence=..., rejected=..., risk=...)"
    for field in TEXTS:
        if type(made[field]) is not str or len(made[field].split()) < WORDS:
            return f"{field} wants a sentence of {WORDS} words or more"
    for value, names, field in ((made["binding"], options, "binding"), *((e, answers, "evidence") for e in _names(made["evidence"]))):
        if type(value) is not str or names is not None and value not in names:
            near = difflib.get_close_matches(str(value), names or (), n=1)
            return f"{field}: got {str(value)[:60]!r}; wants {'one of ' + ', '.join(names) if names else 'a name'}" + (
                f"; did you mean {near[0]}?" if near else "")
    if len(set(_names(made["evidence"]))) != EVIDENCE:
        return f"evidence wants the names of {EVIDENCE} different answers, such as (\"knee\", \"p99\", \"cost\")"
    return None


def _names(evidence):
    return tuple(evidence)[:20] if type(evidence) in (tuple, list) and all(type(e) is str for e in evidence) else ()
