"""Exported cells of an author source → one Python module, readable on its own."""

from ..errors import SourceError

_HEADER = '''# Exported from modules/{name} by `mlsys build`; edit the module's source, not this file.
'''


def module(reference):
    """Text of the module that `reference` exports, or None."""
    a = reference.assignment
    cells = [c for c in reference.cells if c.export]
    if not a.exports:
        if cells:
            raise cells[0].error("is marked `#| export`, but course.yml gives this assignment no `exports` file")
        return None
    if not cells:
        raise SourceError(a.author_source, 1, f"course.yml exports it to {a.exports}, but no cell is marked `#| export`")
    blocks = [c.exported for c in cells]
    text = _HEADER.format(name=a.name) + "\n" + "\n\n\n".join(blocks) + "\n"
    try:
        compile(text, a.exports, "exec")
    except SyntaxError as error:
        raise SourceError(a.author_source, 1, f"the exported module does not compile: {error}") from None
    return text
