"""StaffML: interview drills whose every number is computed.

A student's notebook needs `drill` only, which reads a baked variant and nothing else. The rest is for authors and
graders and wants the folder interviews/templates.

Names load on first use, so that importing the package costs nothing.
"""

_HOME = {
    "drill": "problem", "Problem": "problem", "ProblemError": "problem",
    "Given": "given", "Misconception": "template", "Part": "template", "Template": "template",
    "TemplateError": "template", "load": "template",
    "bake": "variants", "pool": "variants", "PoolError": "variants",
    "answer_key": "keys",
}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'staffml' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
