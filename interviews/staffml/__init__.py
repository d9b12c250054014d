"""StaffML: interview drills whose every number is computed.

A student's notebook needs `drill` only, which reads a baked variant and nothing else. The rest is for authors and
graders and wants the folder interviews/templates.

Names load on first use, so that importing the package costs nothing.
"""

_HOME = {
    "drill": "problem", "Problem": "problem", "ProblemError": "problem",
    "Given": "given", "Template": "template", "TemplateError": "template", "load": "template",
    "Cause": "parts", "Choice": "parts", "Design": "parts", "Diagnosis": "parts", "Fermi": "parts", "Misconception": "parts",
    "Part": "parts", "Table": "parts",
    "bake": "variants", "pool": "variants", "PoolError": "variants",
    "mark": "marking", "Mark": "marking", "Unreadable": "marking",
    "panel": "widgets", "answer_key": "keys", "bake_set": "drillset", "solution": "drillset",
}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'staffml' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
