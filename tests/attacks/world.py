"""What an attack is, and what it needs to be written: the released notebooks, and places that it must not reach."""

import json
import re
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlsysbook.answers import predict

CODE, DRILL = "tinytorch/t_unbroadcast", "drills/t_numbers"
POINTS = {CODE: {"unbroadcast": 3.0, "product": 3.0, "running": 3.0}, DRILL: {"cache": 3.0, "step": 2.0, "rtt": 1.0}}
_REGION = re.compile(r"[ ]*### BEGIN SOLUTION\n(.*?)[ ]*### END SOLUTION\n?", re.DOTALL)


@dataclass(frozen=True)
class World:
    """Where the attacks happen. `places` fills @NAME@ in a text: a port that listens, files to read, a folder to write."""

    notebooks: dict  # assignment name -> official notebook, as plain data
    course: str
    places: dict = field(default_factory=dict)

    def fill(self, text):
        for name, value in self.places.items():
            text = text.replace(f"@{name}@", str(value))
        return text

    def at(self, places):
        """The same world elsewhere."""
        return replace(self, places=self.places | places)

    def notebook(self, assignment):
        """A fresh copy of the notebook with the reference's solutions in it: an honest, perfect submission."""
        nb = json.loads(json.dumps(self.notebooks[assignment]))
        for c in nb["cells"]:
            c["source"] = _REGION.sub(r"\1", c["source"])
        return nb


@dataclass(frozen=True)
class Attack:
    """One submission. Its name is the student's id; `scores` names the items that are not honest, and what they may get."""

    name: str
    tries: str
    write: object  # write(folder, world, name)
    scores: dict = field(default_factory=dict)
    assignment: str = CODE
    flags: tuple = ()  # kinds that the instructor must see
    notes: str = ""  # regular expression found in the note of an item or flag
    shows: str = ""  # regular expression found in the outputs: the attack did run
    fate: str = "graded"
    seconds: float = 8.0  # it is over after that long
    stock: bool = True  # nbgrader's own commands can take the folder too
    loud: bool = True  # it is seen: a flag, or a zero with its reason

    @property
    def wanted(self):
        """Points by item."""
        return POINTS[self.assignment] | self.scores


def zero(*names):
    return dict.fromkeys(names, 0.0)


ALL = zero(*POINTS[CODE])


def cell(nb, gid):
    return next(c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == gid)


def code(source, **metadata):
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}


def written(assignment=CODE, *, before=None, after=None, files=None, change=None, **solutions):
    """A `write` for an honest notebook in which some cells of the student's say something else.

    solutions: source by name of the solution, or of the answer. before, after: a cell of the student's own, at the start
    or at the end. files: more files. change(nb): whatever else is done to the notebook.
    """

    def write(folder, world, name):
        nb = world.notebook(assignment)
        for item, source in solutions.items():
            gids = [f"solution-{item}", f"write-{item}"]
            next(c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") in gids)["source"] = world.fill(_text(source))
        if before:
            nb["cells"].insert(3, code(world.fill(_text(before))))
        if after:
            nb["cells"].append(code(world.fill(_text(after))))
        if change:
            nb = change(nb) or nb
        save(folder, assignment, nb)
        if assignment == DRILL:
            log(folder, world, name)
        for path, text in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text if isinstance(text, bytes) else world.fill(text).encode())

    return write


def raw(data, assignment=CODE):
    """A `write` for a notebook file with these bytes."""

    def write(folder, world, name):
        (folder / f"{assignment.split('/')[1]}.ipynb").write_bytes(data() if callable(data) else data)

    return write


def save(folder, assignment, nb):
    (folder / f"{assignment.split('/')[1]}.ipynb").write_text(json.dumps(nb), encoding="utf-8")


def log(folder, world, student, text="27 ms"):
    """The log of a student who locked a prediction at home."""
    start = predict.genesis(world.course, DRILL.replace("/", "-"), student)
    predict.append(Path(folder) / predict.LOG, start, "rtt", text, "20 ms", "40 ms")


def _text(source):
    return textwrap.dedent(source).strip("\n")


ZEROS = "def unbroadcast(grad, shape):\n    return np.zeros(shape)\n"
UNBROADCAST = zero("unbroadcast")


def then_zeros(source, last=""):
    """A solution cell that does something first and then returns zeros."""
    return f"{textwrap.dedent(source)}\n{ZEROS}{last}"


SOCKETS = """
        import json, os, socket, struct, sys
        def sockets():
            found = []
            for fd in range(3, 256):
                try:
                    found += [fd] if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") else []
                except OSError:
                    pass
            return found
        def frame(message):
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            return struct.pack("<I", len(data)) + data
        def put(fd, message):
            os.write(fd, frame(message))
        control = int(sys.argv[1])
        others = [fd for fd in sockets() if fd != control]
        print("tried", len(others))
"""


def forged(body, **solutions):
    """A cell of the student's that has every socket of the box as `control` and `others`."""
    return written(before=textwrap.dedent(SOCKETS) + textwrap.dedent(body), **solutions)


def forged_in_check(body):
    """A solution that, while it is tested, has the socket of its own check as `fd`."""
    head = textwrap.dedent(SOCKETS.split("control =")[0])
    inner = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return written(unbroadcast=f"{head}\nimport time\ndef unbroadcast(grad, shape):\n    fd = sockets()[-1]\n{inner}\n    time.sleep(9)")


def wants(name):
    return f'json.load(open("assignment.json"))["wanted"][{name!r}]'
