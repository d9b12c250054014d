"""A page as a notebook: its cells as they were written, its text without the markup that only Sphinx reads."""

import ast
import re

import nbformat

from .student import is_key

_DROPPED = {"bibliography", "contents", "toctree", "glue:figure", "glue:", "glue"}
_ENGLISH = re.compile(r"^([^\[]*)\[(.*)\]\{\.language-en \.mls-english\}(\s*)$")      # what a translated page marks
_ROLE = re.compile(r"\{([\w:+.-]+)\}(`+)(.+?)\2")
_FENCE = re.compile(r"^\s*(`{3,}|:{3,}|~{3,})(?:\{([\w:+.-]+)\}\s*(.*))?\s*$")


def notebook(executed, glued, *, keys):
    """The notebook that a reader downloads, from the one that the build executed and what its cells glued.

    keys: with the cells that compute solutions.
    """
    glued = {name: _text(output["data"]) for name, output in glued.items()}
    cells = []
    for cell in executed.cells:
        if cell.cell_type == "code" and (keys or not is_key(cell.source)):
            cells.append(nbformat.v4.new_code_cell(cell.source))
        elif cell.cell_type == "markdown" and (text := plain(cell.source, glued)):
            cells.append(nbformat.v4.new_markdown_cell(text))
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number:03}"               # the same at every build
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec, "language_info": {"name": "python"}})


def _text(data):
    """A glued value as text: MyST-NB keeps its repr, and strings in quotes."""
    text = "".join(data.get("text/plain", ""))
    return str(ast.literal_eval(text)) if re.fullmatch(r"'.*'|\".*\"", text, re.S) else text


def plain(text, glued):
    """Markdown for JupyterLab: glued numbers in place, directives as bold titles, roles as their text, no labels or comments."""
    out, open_ = [], []
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if fence and fence[2]:
            title = "" if fence[2] in _DROPPED else "$$" if fence[2] == "math" else _title(fence[2], fence[3])
            open_.append((fence[1], fence[2]))
            out.append(title)
        elif fence and open_ and fence[1][0] == open_[-1][0][0] and len(fence[1]) >= len(open_[-1][0]):
            out.append("$$" if open_.pop()[1] == "math" else "")
        elif open_ and (open_[-1][1] in _DROPPED or re.match(r"^\s*:[\w-]+:(\s|$)", line)):
            continue
        elif not re.match(r"^(\([\w:.-]+\)=\s*$|%)", line):
            out.append(_roles("|".join(_ENGLISH.sub(r"\1\2\3", part) for part in line.split("|")), glued))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _title(name, argument):
    kind = "" if name in ("admonition", "margin", "dropdown", "sidebar") else name.split(":")[-1].replace("-", " ").capitalize()
    return f"**{': '.join(filter(None, (kind, argument.strip())))}**\n" if kind or argument.strip() else ""


def _roles(line, glued):
    def text(match):
        role, body = match[1], match[3]
        if role.startswith("glue"):
            return glued.get(body.partition(":")[0], body)
        if role == "math":
            return f"${body}$"
        if role.startswith("cite"):
            return f"[{body}]"
        return re.sub(r"\s*<[^>]*>$", "", body).replace(" %s", "")

    return _ROLE.sub(text, line)
