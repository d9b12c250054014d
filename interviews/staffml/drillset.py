"""Drill sets: graded notebooks that ask several templates, each student with numbers of their own.

`staffml set` writes the author source of one, modules/drills/<name>/<name>.py. It names templates and holds no numbers;
`mlsys build` bakes the variants. Answers are called <short>_<part>, after the short name that the set gives a template.
"""

import re

from .parts import Choice, Design, Diagnosis, Fermi
from .template import TemplateError, load
from .variants import bake

_STRIDE = 7                             # no two students share all templates of a set, and neighbours none

_HEAD = '''# %% [markdown]
# # Drill: {title}
#
# *{minutes} minutes, {points:g} points. Each answer is a number with its unit, or the number of a choice.*
#
# Say what you assume, build the number up one step at a time, carry the unit, and hold the result against a bound that
# you trust. Your numbers differ from your neighbour's. Answers are recorded here and judged after submission: "recorded"
# means that the text could be read, not that it is right. Where one answer builds on another, a later step is judged
# with your own earlier number as well, so one slip costs its points once.

# %%
from mlsysbook import variant
from staffml import drill


# %% variants
def pool():
    from staffml import bake_set

    return bake_set({templates})


'''
_PROBLEM = '''# %% [markdown]
# ## {number}. {title}

# %%
{short} = drill(variant()["{short}"])
{short}

'''
_ANSWER = '''# %% answer="{name}" points={points}
# {number}. {name} = {form}
### BEGIN SOLUTION
{take}{name} = solution("{part}", variant()["{short}"])
### END SOLUTION

'''
_RUBRIC = '''# %% [markdown]
# ## Before you hand in
# Which of your numbers is furthest from what you would have guessed before you computed it? Does each unit cancel to the
# one that was asked for? Is anything larger than what holds it, or faster than light?

# %% [markdown] rubric="doubt" points=4
# **Which one of your numbers would you check first on a real system, what would you measure, and which of its
# assumptions do you expect to fail?** Three or four sentences.
#
# ### BEGIN MARK SCHEME
# 1 point: names one number of this notebook and the assumption behind it.
#
# 2 points: a measurement that one person could make (tool or counter, where, for how long) and the value that it should
# give if the assumption holds.
#
# 1 point: says in which direction the number errs if the assumption fails, and why.
#
# No points for "use a profiler" without what to look for.
# ### END MARK SCHEME

'''
_KEY = '''# %% key="{name}"
from staffml import answer_key


def key(v, earlier):
    return answer_key("{part}", v["{short}"], earlier, prefix="{short}_")


'''


def bake_set(templates, n=200):
    """{short name: template} -> n variants for a notebook, each {short name: a baked variant}; see bake()."""
    baked = {short: bake(name, n) for short, name in templates.items()}
    return [{short: made[(i * _STRIDE**k) % n] for k, (short, made) in enumerate(baked.items())} for i in range(n)]


def solution(part, variant):
    """The right answer to a part of a baked variant, as a student would write it. It needs the templates."""
    from mlsysim import units

    from .keys import answer_key

    key = answer_key(part, variant)
    return units.format(key.value, key.unit) if key.unit else f"{key.value:.12g}"


def source(title, templates):
    """The author source of a drill set -> (text, points, minutes). templates: {short name: name of a template}.

    Raises TemplateError for a short name that is none, a template with a design, which needs a rubric written by hand,
    and PoolError for one that does not give enough variants.
    """
    cells, keys, points, minutes = [], [], 4, 5
    for number, (short, name) in enumerate(templates.items(), 1):
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", short):
            raise TemplateError(f"short name {short!r}: wants up to 12 lower-case letters and digits, such as kv")
        template = load(name)
        designs = [part.name for part in template.parts if isinstance(part, Design)]
        if designs:
            raise TemplateError(f"{name} asks for a design ({designs[0]}), which a set cannot mark; choose another template")
        minutes += template.minutes
        cells.append(_PROBLEM.format(number=number, title=template.title, short=short))
        for place, part in enumerate(template.parts, 1):
            names = {"number": place, "name": f"{short}_{part.name}", "part": part.name, "short": short, "points": _points(part),
                     "form": _form(part), "take": "" if keys else "from staffml import solution\n\n"}
            points += names["points"]
            cells.append(_ANSWER.format(**names))
            keys.append(_KEY.format(**names))
    head = _HEAD.format(title=title, minutes=minutes, points=points, templates=_literal(templates))
    return (head + "".join(cells) + _RUBRIC + "".join(keys)).rstrip("\n") + "\n", points, minutes


def write(course, name, title, templates):
    """Add a drill set to the course: its author source and its entry in course.yml -> path of the source.

    Nothing is written if it exists, or if anything about the set is wrong.
    """
    from mlsysbook import atomic

    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,47}", name):
        raise TemplateError(f"name {name!r}: wants lower-case letters, digits and _, at most 48")
    path = course.root / "modules" / "drills" / name / f"{name}.py"
    if path.exists() or any(a.name == f"drills/{name}" for a in course.assignments):
        raise TemplateError(f"drills/{name} exists already; nothing was written")
    text, points, minutes = source(title, templates)
    atomic.write(path, text.encode())
    entry = (f'  - name: drills/{name}\n    title: "Drill: {title}"\n    points: {points:g}\n    minutes: {minutes}\n'
             "    limits: {cell_seconds: 5, check_seconds: 5}\n")
    catalogue = course.root / "course.yml"
    atomic.write(catalogue, catalogue.read_bytes().rstrip(b"\n") + b"\n" + entry.encode())
    return path


def _points(part):
    return 2 if isinstance(part, Choice | Diagnosis | Fermi) else 3


def _form(part):
    if isinstance(part, Choice | Diagnosis):
        return "...            the number of a choice"
    return f'"... {part.unit}"' if part.unit else "...            a number, without a unit"


def _literal(templates):
    return "{\n" + "".join(f'        "{short}": "{name}",\n' for short, name in templates.items()) + "    }"

