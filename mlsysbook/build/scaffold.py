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

_LAB = '''# %% [markdown]
# # {title}
#
# One paragraph: the question, the trap that intuition falls into, and what the reader can do afterwards.

# %%
import numpy as np

from mlsysbook import answer, case, check, decision, explore, predict, reveal, scenario, slider, variant
from mlsysim import mmc, units

# %% [markdown]
# ## 1. Your track

# %% variants
def pool():
    """Loads of a server, the same on each track. What differs between tracks stands in the scenario."""
    for track in ("cloud", "edge", "mobile", "tiny"):
        for per_cent in range(82, 92):
            yield {{"track": track, "load": per_cent / 100}}

# %%
here = scenario(
    cloud={{"title": "A card", "story": "Questions come to one card in a data centre.", "service": "20 ms"}},
    edge={{"title": "A camera", "story": "Pictures come to one board beside a road.", "service": "40 ms"}},
    mobile={{"title": "A keyboard", "story": "Words come to one phone.", "service": "15 ms"}},
    tiny={{"title": "A sensor", "story": "Sounds come to one chip on a coin cell.", "service": "90 ms"}},
)
here

# %%
mine = variant()
service = here.si("service")
print(f"your server is busy {{mine['load']:.0%}} of the time")

# %% [markdown]
# ## 2. A bet
# The server of the scenario is busy for nine tenths of the time. How long is a request in the system, on average?

# %% predict="stay" points=1 unit="s"
# predict("stay", "... ms", low="... ms", high="... ms")
### BEGIN SOLUTION
predict("stay", "300 ms", low="100 ms", high="1 s")
### END SOLUTION

# %% key="stay"
def key(v):
    each = here.of(v["track"]).si("service")
    return Key(mmc(0.9 / each, each).seconds, "s")

# %% show
reveal("stay", units.format(mmc(0.9 / service, service).seconds, "s"))

# %% show
def draw(axes, queue, settings):
    loads = np.linspace(0.05, 0.95, 60)
    axes.plot(100 * loads, mmc(loads / settings["service"], settings["service"]).seconds)
    axes.plot([100 * settings["load"]], [queue.seconds], "o")
    axes.set(xlabel="load (%)", ylabel="mean time in the system (s)")


def say(queue, settings):
    return f"a request stays {{units.format(queue.seconds, 's')}}, {{queue.wait / queue.seconds:.0%}} of it in line."


controls = {{"load": slider(0.1, 0.95, start=0.5, unit="%"), "service": slider(service / 4, 2 * service, start=service, unit="s")}}
panel = explore(lambda load, service: mmc(load / service, service), controls, draw=draw, say=say)
panel

# %% [markdown]
# ## 3. Write it
# One worked example with numbers before any generality. Then what to write.

# %% solution="mean_stay"
def mean_stay(arrivals, service):
    """Mean time in the system of M/M/1. arrivals (1/s), service (s) -> s."""
    ### BEGIN SOLUTION
    return service / (1 - arrivals * service)
    ### END SOLUTION

# %% check="mean_stay" points=3
check("mean_stay", [case(5.0, 0.1), case(0.0, 0.1)], compare="value", forbid=("mlsysim.mmc", "mmc"))

# %% hidden="mean_stay"
def cases(rng):
    for load in rng.uniform(0.1, 0.95, size=4):
        each = float(rng.uniform(0.01, 1))
        yield case(float(load / each), each, behaviour="any load below one")
    yield case(0.0, 0.25, behaviour="nobody waits where nobody comes")

# %% [markdown]
# ## 4. Your numbers

# %% answer="arrivals" points=1
arrivals = ""  # such as "12 1/s"
### BEGIN SOLUTION
arrivals = f"{{mine['load'] / service:.9g}} 1/s"
### END SOLUTION

# %% key="arrivals"
def key(v):
    return Key(v["load"] / here.of(v["track"]).si("service"), "1/s")

# %% answer="seconds" points=1
seconds = ""  # such as "120 ms"
### BEGIN SOLUTION
seconds = f"{{mean_stay(mine['load'] / service, service):.9g}} s"
### END SOLUTION

# %% key="seconds"
def key(v):
    each = here.of(v["track"]).si("service")
    return Key(mmc(v["load"] / each, each).seconds, "s", mistakes=[Mistake(each, 0.25, "that is the service alone")])

# %% answer="waiting" points=1
waiting = ""  # such as "2.5"
### BEGIN SOLUTION
waiting = f"{{mine['load'] ** 2 / (1 - mine['load']):.9g}}"
### END SOLUTION

# %% key="waiting"
def key(v):
    each = here.of(v["track"]).si("service")
    return Key(mmc(v["load"] / each, each).queued, "")

# %% [markdown]
# ## 5. Decide
# Which limit would you move, "service rate" or "arrivals"? Name three answers that show it.

# %% decision="plan" points=3
# plan = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
plan = decision(
    claim="A faster model shortens every stay",
    binding="service rate",
    evidence=("arrivals", "seconds", "waiting"),
    rejected="Turning requests away costs users",
    risk="Requests may come in bursts",
)
### END SOLUTION

# %% key="plan"
def key(v):
    each = here.of(v["track"]).si("service")
    return Decision(mmc(v["load"] / each, each).why().binding, ("service rate", "arrivals"))
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
    text = _LAB.format(title=title) if kind == "lab" else _HEAD.format(title=title) + _FUNCTION + _ANSWER
    atomic.write(path, text.encode())
    entry = f'  - name: {full}\n    title: "{title}"\n    points: 10\n    minutes: 45\n'
    catalogue = course.root / "course.yml"
    atomic.write(catalogue, catalogue.read_bytes().rstrip(b"\n") + b"\n" + entry.encode())
    return path
