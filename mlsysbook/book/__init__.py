"""The book: what its chapters compute with, and what turns them into a site.

A chapter writes `from mlsysbook.book import number, figure, live, exercise_key`; names load on first use.
"""

_CHAPTER = {"number": "numbers", "exercise_key": "numbers", "GuardError": "numbers", "ChapterError": "numbers",
            "figure": "figures", "live": "sliders"}  # fmt: skip
__all__ = sorted(_CHAPTER)


def __getattr__(name):
    if name not in _CHAPTER:
        raise AttributeError(f"module 'mlsysbook.book' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(f".{_CHAPTER[name]}", __name__), name)
    globals()[name] = value
    return value
