"""mlsys new: a source that builds at once, and its entry in the catalogue."""

import re

from .. import atomic
from ..errors import CatalogueError

KINDS = {"module": "tinytorch", "lab": "labs", "drill": "drills"}

_HEAD = '''# %% [markdown]
# # {title}
#
# One paragraph: the question, why it matters, and what the reader can do afterwards.

# %%
from mlsysbook import answer, case, check, predict, prop, reveal
'''

_FUNCTION = '''
# %% [markdown]
# ## 1. The first idea
# One worked example with numbers before any generality. Then what to write.

# %% solution="double"
def double(x):
    """Twice x, for any number."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% check="double" points=5
check("double", [case(3), case(-1.5)])

# %% hidden="double"
def cases(rng):
    for x in rng.normal(size=4):
        yield case(float(x), behaviour="any number")
    yield case(0, behaviour="zero stays zero")
'''

_ANSWER = '''
# %% [markdown]
# ## 2. A number
# Ask for a number with a unit; its key is computed, never typed.

# %% answer="bytes_moved" points=5
bytes_moved = ""        # such as "3.2 GB"
### BEGIN SOLUTION
bytes_moved = "8 kB"
### END SOLUTION

# %% key="bytes_moved"
def key(v):
    elements, bytes_each = 1000, 8
    return Key(elements * bytes_each, "B", tol=0.02,
               mistakes=[Mistake(elements * bytes_each / 8, 0.25, "that counts bytes as bits")])
'''


def scaffold(course, kind, name, title=""):
    """Write modules/<part>/<name>/<name>.py and append its entry to course.yml -> path of the source."""
    if kind not in KINDS:
        raise CatalogueError(f"unknown kind {kind!r}; wants {', '.join(KINDS)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,47}", name):
        raise CatalogueError(f"name {name!r}: wants lower-case letters, digits and _, at most 48")
    full = f"{KINDS[kind]}/{name}"
    path = course.root / "modules" / KINDS[kind] / name / f"{name}.py"
    if path.exists() or any(a.name == full for a in course.assignments):
        raise CatalogueError(f"{full} exists already; nothing was written")
    title = title or name.replace("_", " ").capitalize()
    atomic.write(path, (_HEAD.format(title=title) + _FUNCTION + _ANSWER).encode())
    entry = f'  - name: {full}\n    title: "{title}"\n    points: 10\n    minutes: 45\n'
    catalogue = course.root / "course.yml"
    atomic.write(catalogue, catalogue.read_bytes().rstrip(b"\n") + b"\n" + entry.encode())
    return path
