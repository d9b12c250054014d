"""The folder and the notebook file: links, pipes, bombs, wrong types, lost and doubled cells."""

import base64
import json
import os

from tests.attacks.world import (
    ALL,
    CODE,
    DRILL,
    UNBROADCAST,
    ZEROS,
    Attack,
    cell,
    code,
    raw,
    save,
    written,
    zero,
)


def _links(folder, world, name):
    written()(folder, world, name)
    for target, link in (
        (f"{world.places['CLASS']}/gradebook.db", "data.db"),
        ("/etc/passwd", "passwd.txt"),
        ("/", "everything"),
        ("..", "up"),
        ("loop", "loop"),
        (world.places["TMP"], "predictions.jsonl"),
    ):
        (folder / link).symlink_to(target)
    cells = json.loads((folder / "t_unbroadcast.ipynb").read_text())
    cells["cells"].insert(
        3,
        code(
            "import os\nfor p in ('data.db', 'passwd.txt', 'everything/root', 'up/..', 'predictions.jsonl'):\n"
            "    if os.path.exists(p):\n        print('PWNED', p)\nprint('tried')"
        ),
    )
    save(folder, CODE, cells)


def _linked_notebook(folder, world, name):
    (folder / "t_unbroadcast.ipynb").symlink_to(f"{world.places['COURSE']}/source/tinytorch-t_unbroadcast/t_unbroadcast.ipynb")


def _linked_sidecar(folder, world, name):
    written(DRILL)(folder, world, name)
    (folder / "assignment.json").symlink_to(world.places["TMP"])
    (folder / "predictions.jsonl").unlink()
    (folder / "predictions.jsonl").symlink_to(world.places["TMP"])


def _odd_names(folder, world, name):
    written()(folder, world, name)
    for odd in (
        "..passwd",
        "...",
        "-rf",
        "$(touch PWNED)",
        "a\nb",
        "\x1b[31mred",
        "x" * 250,
        "..\\..\\x",
        "%2e%2e%2fx",
        "\u202etxt.exe",
        "CON",
        "assignment.json.",
        "nul\u0001",
    ):
        (folder / odd).write_text("x")
    with open(os.fsencode(folder) + b"/\xff\xfe\xed\xa0\x80", "w") as f:
        f.write("x")
    for odd in ("\x1b[2J", "a\nb.bin"):
        (folder / odd).write_bytes(b"0" * 11_000_000)


def _folders_for_files(folder, world, name):
    written(DRILL)(folder, world, name)
    (folder / "predictions.jsonl").unlink()
    for path in (
        "assignment.json/x.txt",
        "predictions.jsonl/x.txt",
        "timestamp.txt/x.txt",
        "a/b/c/d/e/f/g/deep.txt",
        "t_numbers.ipynb.d/x",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")


def _own_sidecar(folder, world, name):
    written(DRILL)(folder, world, name)
    (folder / "assignment.json").write_text(
        json.dumps({"variants": [{"layers": 1, "heads": 1, "bandwidth": 1.0}], "units": {}, "course": "x", "assignment": "x"})
    )


def _pipes(folder, world, name):
    os.mkfifo(folder / "t_unbroadcast.ipynb")
    os.mkfifo(folder / "timestamp.txt")


def _renamed(folder, world, name):
    written()(folder, world, name)
    (folder / "t_unbroadcast.ipynb").rename(folder / "My work (final) \u202e.ipynb")


def _two_notebooks(folder, world, name):
    written()(folder, world, name)
    text = (folder / "t_unbroadcast.ipynb").read_text()
    (folder / "t_unbroadcast.ipynb").rename(folder / "a.ipynb")
    (folder / "b\x1b[2J.ipynb").write_text(text)


def _many_files(folder, world, name):
    written()(folder, world, name)
    for i in range(3000):
        (folder / f"f{i}.txt").write_text("x")
    (folder / "big.bin").write_bytes(b"\0" * 30_000_000)


def _modules(folder, world, name):
    written(
        files={
            n: "print('PWNED')\nraise SystemExit\n"
            for n in (
                "numpy.py",
                "mlsysbook.py",
                "json.py",
                "sitecustomize.py",
                "usercustomize.py",
                "runner.py",
                "mlsysbook/__init__.py",
                "numpy/__init__.py",
                "encodings/__init__.py",
                "pyvenv.cfg",
                "IPython/__init__.py",
            )
        }
    )(folder, world, name)


def _mixed_up(nb):
    """The rubric and a text lost, a check and a solution doubled, the rest backwards."""
    cells = [c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") not in ("rubric-explain", "check-product")]
    wrong = json.loads(json.dumps(cell(nb, "solution-product")))
    wrong["source"] = "def product(a, b):\n    return a"
    nb["cells"] = [*reversed(cells), wrong, json.loads(json.dumps(cell(nb, "check-running")))]


def _old_format(nb):
    cells = [
        {
            "cell_type": c["cell_type"],
            "metadata": c["metadata"],
            "input": c["source"],
            "outputs": [],
            "language": "python",
            "prompt_number": 1,
        }
        if c["cell_type"] == "code"
        else {"cell_type": c["cell_type"], "metadata": c["metadata"], "source": c["source"]}
        for c in nb["cells"]
    ]
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "x"}, "worksheets": [{"metadata": {}, "cells": cells}]}


def _odd_cells(nb):
    nb["cells"] += [
        {},
        {"cell_type": []},
        {"cell_type": "code"},
        {"cell_type": "code", "source": [1, 2]},
        {"cell_type": "code", "source": {"a": 1}},
        {"cell_type": "markdown", "source": None, "attachments": [], "metadata": []},
        {"cell_type": "heading", "source": "x"},
        {"cell_type": "code", "source": "pass", "metadata": {"nbgrader": []}, "id": []},
        {"cell_type": "code", "source": "pass", "metadata": {"nbgrader": {"grade_id": ["x"]}}, "id": "check-product"},
        {"cell_type": "raw", "source": "\x00\x1b", "id": "x" * 10_000},
    ]
    nb["metadata"] = {"kernelspec": {"name": "../../evil", "language": "bash"}, "widgets": {"a": [[]]}}


def _surrogates(nb):
    nb["cells"].insert(3, code("x = '\ud800'", note="\udfff"))
    nb["cells"].insert(
        3,
        {
            "cell_type": "markdown",
            "metadata": {},
            "id": "\ud800",
            "source": "\ud800 ![x](attachment:\ud800.png)",
            "attachments": {
                "\ud800.png": {"image/png": "\ud800"},
                'x"><script>': {"image/png": '"><script>PWNED</script>'},
                "y": {"image/png": ["a"]},
                "z": {"text/html": "PWNED"},
            },
        },
    )
    nb["cells"][-1]["attachments"] = {"\udc80": {"image/png": "\udc80", "image/svg+xml": "PWNED"}}
    nb["metadata"]["\ud800"] = "\ud800"


def _bomb():
    cells = [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": "x",
            "attachments": {"a.png": {"image/png": base64.b64encode(b"\0" * 30_000_000).decode()}},
        }
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def _head(cells):
    return b'{"metadata": {}, "nbformat": 4, "nbformat_minor": 5, "cells": [' + cells + b"]}"


FILES = [
    Attack("links", "links to the gradebook, to /, upwards and to itself", _links, flags=("escape",), shows="tried", stock=False),
    Attack(
        "linked_notebook",
        "its notebook is a link to the reference",
        _linked_notebook,
        ALL,
        flags=("damaged",),
        fate="damaged",
        notes="link",
        stock=False,
    ),
    Attack(
        "linked_sidecar",
        "links in place of the variants and of the log",
        _linked_sidecar,
        zero("rtt"),
        DRILL,
        flags=("escape",),
        stock=False,
    ),
    Attack("odd_names", "file names with dots, escapes, new lines, bad UTF-8", _odd_names, flags=("limit",), stock=False),
    Attack("folders_for_files", "folders where files should be", _folders_for_files, zero("rtt"), DRILL, stock=False),
    Attack("own_sidecar", "brings a sidecar with an easy variant", _own_sidecar, {}, DRILL),
    Attack("renamed", "the notebook under another name", _renamed, flags=("damaged",), notes="renamed", stock=False),
    Attack("two_notebooks", "two notebooks under other names", _two_notebooks, ALL, flags=("damaged",), fate="missing", stock=False),
    Attack("pipes", "a pipe in place of the notebook", _pipes, ALL, flags=("damaged",), fate="missing", stock=False),
    Attack("many_files", "three thousand files and a large one", _many_files, flags=("limit",)),
    Attack("shadowing_modules", "files that would be imported in place of numpy and the courseware", _modules),
    Attack("mixed_up", "cells lost, doubled and backwards", written(change=_mixed_up), flags=("damaged", "tamper")),
    Attack(
        "edited_tests",
        "its own, easier tests under the official name",
        written(change=lambda nb: cell(nb, "check-unbroadcast").update(source="check('unbroadcast', [], compare=None)"), unbroadcast=ZEROS),
        UNBROADCAST,
        flags=("tamper",),
    ),
    Attack("no_cells_left", "an empty notebook", raw(_head(b"")), ALL),
    Attack("odd_cells", "cells of every wrong type", written(change=_odd_cells)),
    Attack("old_format", "a notebook of format 3", written(change=_old_format)),
    Attack("future_format", "a notebook of format 99", raw(b'{"nbformat": 99, "cells": [[]]}'), ALL, flags=("damaged",), fate="damaged"),
    Attack(
        "format_that_is_none",
        "a format that is a list, in a notebook that is nearly one",
        raw(b'{"nbformat": [[]], "worksheets": 3}'),
        ALL,
        flags=("damaged",),
        fate="damaged",
    ),
    Attack("not_json", "a notebook that is no JSON", raw(b"\x00PK\x03\x04" * 1000), ALL, flags=("damaged",), fate="damaged"),
    Attack("not_utf8", "a notebook in bad UTF-8", raw(_head(b'"\xff\xfe"')), ALL, flags=("damaged",), fate="damaged"),
    Attack("nested_json", "a notebook nested a million deep", raw(b'{"cells":' * 1_000_000), ALL, flags=("damaged",), fate="damaged"),
    Attack(
        "nan_and_doubles",
        "NaN, infinities, numbers of a thousand digits and doubled keys",
        raw(
            b'{"cells": 3, "metadata": {"a": NaN, "a": -Infinity, "b": 1e999, "c": '
            + b"9" * 4000
            + b'}, "nbformat": 4, "nbformat": 4, "cells": [], "cells": [{"cell_type": "code", "source": "x = 1", "metadata": {"n": NaN}}]}'
        ),
        ALL,
    ),
    Attack(
        "huge_integer",
        "a number too long to read",
        raw(b'{"nbformat": 4, "cells": [], "metadata": ' + b"9" * 100_000 + b"}"),
        ALL,
        flags=("damaged",),
        fate="damaged",
    ),
    Attack("surrogates", "half characters in sources, ids, attachments and metadata", written(change=_surrogates), loud=False),
    Attack("bomb", "an attachment of forty megabytes", raw(_bomb), ALL, flags=("damaged",), fate="damaged"),
    Attack(
        "brackets",
        "nineteen megabytes of brackets, small on disk and huge in memory",
        raw(lambda: _head(b'{"cell_type": "code", "source": "", "metadata": {"a": [' + b"[]," * 6_300_000 + b"[]]}}")),
        ALL,
        flags=("damaged",),
        fate="damaged",
    ),
    Attack("million_cells", "a million cells", raw(lambda: _head(b"{}," * 999_999 + b"{}")), ALL, flags=("damaged",), fate="damaged"),
    Attack(
        "long_sources",
        "more text than anybody writes",
        written(after="x = '" + "y" * 3_000_000 + "'"),
        ALL,
        flags=("damaged",),
        fate="damaged",
    ),
    Attack("null_bytes", "null bytes in the code", written(before="x = 1\0"), loud=False),
    Attack("deep_source", "code nested deeper than Python reads", written(before="x = " + "(" * 5000 + ")" * 5000), loud=False),
    Attack("slow_source", "code that takes long to compile", written(before="x = " + "-" * 20_000 + "1"), zero("product")),
    Attack(
        "deep_expression",
        "a solution nested deeper than a program that reads it can recurse",
        written(product="x = " + "-" * 600 + "1\ndef product(a, b):\n    return np.matmul(a, b)"),
        zero("product"),
    ),
]
