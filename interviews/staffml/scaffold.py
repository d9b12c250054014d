"""A new template that passes every check, to be changed into what its author has in mind."""

import re
from pathlib import Path

from .check import CLOSED_FORMS
from .taxonomy import AREAS, LEVELS, TOPICS, TRACKS, complaint
from .template import FOLDER, TemplateError, names

_TEMPLATE = '''"""How long a file takes over a link. Replace: one sentence about what is asked."""
from mlsysim import network
from staffml import Misconception, Part, Template


def seconds(p):
    return network.transfer_seconds(p.size, p.rate)


template = Template(
    title="{title}", area="{area}", topic="{topic}", track="{track}", level="{level}",
    chapter="V1-02", minutes=5,
    space={{"size": tuple(i * 1e9 for i in range(2, 200)), "rate": (1.25e9, 2.5e9, 3.125e9, 5e9, 12.5e9)}},
    prompt="""
        A file of {{size:GB}} crosses one link of {{rate:Gbit/s}}. Nothing else uses the link, and its length does not
        matter.""",
    parts=(
        Part("time", "How long does the transfer take?", "s", seconds, ("0.1 s", "10 min"), (
            Misconception("bits as bytes", lambda p: seconds(p) / 8, 0.25,
                          "You divided bytes by bits a second; a byte is eight bits."),
            Misconception("bits twice", lambda p: seconds(p) * 8, 0.25, "You turned bits into bytes twice."),
            Misconception("both ways", lambda p: 2 * seconds(p), 0.5, "You counted the way back; the file goes one way.")
        )),))
'''
_FORM = '''

def {function}(p):
    seconds = p.size * 8 / (p.rate * 8)                 # bits over bits a second
    return {{"time": (seconds, {{"bits as bytes": seconds / 8, "bits twice": seconds * 8, "both ways": seconds + seconds}})}}
'''


def new(name, *, track="cloud", level="L2", topic=None, folder=FOLDER, forms=CLOSED_FORMS):
    """Write a template called "<area>/<name>" and its closed form -> the two paths. Raises TemplateError."""
    area, slash, function = name.partition("/")
    if not slash or not re.fullmatch(r"[a-z][a-z0-9_]*", function):
        raise TemplateError(f"got {name!r}; wants AREA/NAME with NAME in lower case, digits and _, such as memory/kv_cache")
    topic = topic or TOPICS.get(area, ("",))[0]
    for line in (complaint("area", area, AREAS), complaint("track", track, TRACKS), complaint("level", level, tuple(LEVELS)),
                 complaint("topic", topic, TOPICS.get(area, ()))):
        if line:
            raise TemplateError(line)
    if name in names(folder):
        raise TemplateError(f"{name} exists already: {Path(folder) / name}.py")
    path, form = Path(folder) / f"{name}.py", Path(forms) / f"{area.replace('-', '_')}.py"
    if form.is_file() and re.search(rf"^def {function}\(", form.read_text(encoding="utf-8"), re.M):
        raise TemplateError(f"{form} defines {function} already; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    form.parent.mkdir(parents=True, exist_ok=True)
    title = function.replace("_", " ").capitalize()
    path.write_text(_TEMPLATE.format(title=title, area=area, topic=topic, track=track, level=level), encoding="utf-8")
    head = "" if form.is_file() else f'"""Closed forms of the templates in {area}: the second path to every answer."""\n'
    with open(form, "a", encoding="utf-8") as f:
        f.write(head + _FORM.format(function=function))
    return path, form
