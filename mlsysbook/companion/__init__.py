"""The companion of a reader: questions and cards of a chapter, when to meet them again, and where the book answers a question.

What the browser shows is made here when the book is built; `mlsys review` and panel() use the same content and the same progress.
"""

__all__ = ["panel"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module 'mlsysbook.companion' has no attribute {name!r}; it has {', '.join(__all__)}")
    from .lab import panel

    return panel
