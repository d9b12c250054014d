"""The student build: sources without solutions and without the cells that compute them.

Lines that go are left blank, so that a warning still names the right line.
"""

import re

_OPEN = re.compile(r"^\s*(?P<fence>`{3,}|:{3,}|~{3,})\{(?P<name>[\w:+.-]+)\}")
_TAGS = re.compile(r"^\s*:?tags:.*$")


def fences(lines):
    """Directives at any depth -> (first line, last line, name), by their numbers from 0."""
    found, open_ = [], []
    for number, line in enumerate(lines):
        if open_ and re.fullmatch(rf"\s*{re.escape(open_[-1][1][0])}{{{len(open_[-1][1])},}}\s*", line):
            first, _, name = open_.pop()
            found.append((first, number, name))
        elif (match := _OPEN.match(line)) and not (open_ and open_[-1][2] == "code-cell"):
            open_.append((number, match["fence"], match["name"]))
    return sorted(found)


def is_key(source):
    """Whether a code cell computes what a student must find."""
    return bool(re.search(r"^\s*(\w+\s*=\s*)?exercise_key\(", source, re.M))


def without_solutions(text):
    """Blank every solution, from {solution} or {solution-start} to its end; hide cells that compute a key."""
    lines, start = text.split("\n"), None
    for first, last, name in fences(lines):
        if name == "solution-start":
            start = first
        elif name == "solution-end":
            lines[start:last + 1] = [""] * (last + 1 - start)
        elif name == "solution":
            lines[first:last + 1] = [""] * (last + 1 - first)
        elif name == "code-cell" and is_key("\n".join(lines[first + 1:last])):
            _hide(lines, first, last)
    return "\n".join(lines)


def _hide(lines, first, last):
    """Tag the cell remove-cell, in the place of its other tags: the page shows nothing of it, later cells have its names."""
    for number in range(first + 1, last):
        if _TAGS.match(lines[number]):
            lines[number] = re.sub(r"tags:.*", "tags: [remove-cell]", lines[number])
            return
        if not re.match(r"^\s*(:[\w-]+:.*|---)?$", lines[number]):
            break
    yaml = lines[first + 1].strip() == "---"
    at = first + 1 if yaml else first
    lines[at] += "\ntags: [remove-cell]" if yaml else "\n:tags: [remove-cell]"
