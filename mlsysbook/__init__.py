"""Courseware of ML Systems. A notebook needs one line: `from mlsysbook import answer, case, check, predict`.

Names load on first use, so that importing the package costs nothing.
"""

__version__ = "0.1.0"

_STUDENT = {
    "case": "answers.check", "check": "answers.check", "prop": "answers.check", "CheckFailed": "answers.check",
    "Firmware": "answers.firmware",
    "answer": "answers.answer",
    "locked": "answers.predict", "predict": "answers.predict", "reveal": "answers.predict",
    "variant": "answers.identity",
    "measure": "labs.measure", "explore": "labs.explore", "pick": "labs.explore", "slider": "labs.explore",
    "computation_graph": "labs.graph",
    "choose": "labs.tracks", "ledger": "labs.ledger", "scenario": "labs.tracks",
    "decided": "labs.decision", "decision": "labs.decision",
    "Decision": "answers.keys", "Key": "answers.keys", "Mistake": "answers.keys",
}
__all__ = sorted(_STUDENT)


def __getattr__(name):
    if name not in _STUDENT:
        raise AttributeError(f"module 'mlsysbook' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(f".{_STUDENT[name]}", __name__), name)
    globals()[name] = value
    return value
