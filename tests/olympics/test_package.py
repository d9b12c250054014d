"""What an entry may hand in, and what is said of the rest."""

import io
import json
import os
import string
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mlsysbook.olympics import arrays, package, tracks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def entry(tmp_path):
    package.new(tmp_path / "entry", "tiny", "Some Team")
    return tmp_path / "entry"


def edit(entry, old, new, name=package.MANIFEST):
    text = (entry / name).read_text()
    assert old in text
    (entry / name).write_text(text.replace(old, new, 1))


def test_the_tracks_are_those_of_the_capstone():
    from tinytorch.capstone import BUDGETS

    assert {n: (t.bytes, t.flop) for n, t in tracks.TRACKS.items()} == {n: (b["bytes"], b["flop"]) for n, b in BUDGETS.items()}
    assert all(0.02 <= t.behind <= 0.05 and t.reason for t in tracks.TRACKS.values())


def test_the_starter_can_be_read_and_carries_no_data(entry):
    found = package.read(entry)
    assert found.manifest.track == "tiny" and found.manifest.board == "individual" and found.carried == 0 and found.own == []


@pytest.mark.parametrize("old, new, said", [
    ('track = "tiny"', 'track = "huge"', "unknown track 'huge'; there are cloud, edge, mobile, tiny"),
    ('track = "tiny"', "track = 3", "track wants a str"),
    ('track = "tiny"', "", "track is missing"),
    ("seed = 0", "seed = 0\nspeed = 9", "unknown key 'speed'"),
    ("seed = 0", "seed = -1", "seed wants a number from 0"),
    ('build = "build"', 'build = "build"\nweights = "w.npz"', "one of the two"),
    ('build = "build"', "", "one of the two"),
    ('build = "build"', 'weights = "w.npz"', "no such file"),
    ('module = "entry"', 'module = "../entry"', "wants a name in Python"),
    ('module = "entry"', 'module = "other"', "there is no other.py"),
    ('members = ["Some Team"]', "members = []", "one to ten"),
    ('members = ["Some Team"]', 'members = ["<script>"]', "is no name"),
    ('members = ["Some Team"]', 'members = ["a", "a"]', "different"),
    ("team =", "team = =", "Invalid"),
    ("seed = 0", 'seed = 0\nnotebooks = "work"', "no notebook of a TinyTorch module"),
])
def test_a_broken_manifest_is_named(entry, old, new, said):
    edit(entry, old, new)
    with pytest.raises(package.PackageError, match=said.replace(".", r"\.")):
        package.read(entry)


def test_links_pipes_and_heaps_of_files_are_refused(entry):
    (entry / "link").symlink_to("/etc/passwd")
    with pytest.raises(package.PackageError, match="link: wants regular files"):
        package.read(entry)
    (entry / "link").unlink()
    os.mkfifo(entry / "pipe")
    with pytest.raises(package.PackageError, match="pipe"):
        package.read(entry)
    (entry / "pipe").unlink()
    for k in range(package.FILES + 1):
        (entry / f"f{k}").touch()
    with pytest.raises(package.PackageError, match="more than 200 files"):
        package.read(entry)


def test_the_hash_is_of_names_and_contents(entry):
    before = package.read(entry).sha256
    (entry / "notes.txt").write_text("x")
    assert package.read(entry).sha256 != before


def test_comments_and_docstrings_do_not_reach_the_box(entry):
    (entry / "entry.py").write_text('"""SECRET"""\n# SECRET\ndef build(x, y, budget, seed):\n    "SECRET"\n    "SECRET"\n\ndef predict(m, x):\n    return x\n')
    staged = package.read(entry).staged["entry.py"]
    assert b"SECRET" not in staged and b"def build" in staged
    compile(staged, "entry.py", "exec")


HIDING = {                              # 8,000 bytes of a model where nobody counted
    "a text": lambda e: add(e, f"A = {'x' * 8000!r}"),
    "many short texts": lambda e: add(e, f"A = {[f'{k:080}' for k in range(100)]}"),
    "numbers": lambda e: add(e, f"A = {list(range(1000, 5000))}"),
    "few long numbers": lambda e: add(e, f"A = {[(1 << 63) + k for k in range(1000)]}"),
    "names": lambda e: add(e, f"A = dict({', '.join(f'k{k:039}=0' for k in range(200))})"),
    "an order of few names": lambda e: add(e, "A = [" + ",".join(np.random.default_rng(0).choice(list(string.ascii_letters), 10_000)) + "]"),
    "names of empty files": lambda e: [(e / f"k{k:076}.py").touch() for k in range(100)],
}


def add(entry, code):
    with open(entry / "entry.py", "a") as f:
        f.write(f"\n{code}\n")


@pytest.mark.parametrize("way", HIDING)
def test_data_in_code_counts_as_bytes(entry, way):
    HIDING[way](entry)
    assert 8000 - package.PACKED - 500 <= package.read(entry).carried <= 16000


def test_what_honest_code_needs_is_free(entry):
    from mlsysbook.olympics import simulate

    for kind in simulate.KINDS.values():
        if kind.expected == "valid":
            (entry / "entry.py").write_text(simulate._STARTER + kind.code)
            assert package.read(entry).carried == 0


@pytest.fixture
def notebook(entry):
    """Put the notebook of module 02 into the entry, after `change` was made to it and its sidecar -> Package."""
    def put(change=lambda book, baked: None):
        source, work = ROOT / "source" / "tinytorch-02_activations", entry / "work" / "02_activations"
        book, baked = (json.loads((source / name).read_text()) for name in ("02_activations.ipynb", "assignment.json"))
        change(book, baked)
        work.mkdir(parents=True)
        (work / "02_activations.ipynb").write_text(json.dumps(book))
        (work / "assignment.json").write_text(json.dumps(baked))
        edit(entry, "# notebooks", "notebooks")
        return package.read(entry)

    return put


def test_the_references_own_notebook_carries_nothing(notebook):
    found = notebook()
    assert found.own == ["activations"] and found.carried == 0


@pytest.mark.parametrize("cell", ["%%cython\n" + "x" * 8000, "A = 0" + "".join(f"\nA += {'x' * 70!r} < 'y'" for _ in range(115))])
def test_data_in_a_notebook_counts_as_bytes(notebook, cell):
    def change(book, baked):
        book["cells"].append({"cell_type": "code", "metadata": {"nbgrader": {"grade_id": "mine"}}, "source": cell})
        baked["exports"]["cells"].append("mine")

    assert notebook(change).carried > 7000


def test_names_of_cells_hold_nothing_and_one_that_is_missing_is_named(notebook, entry):
    def change(book, baked):
        book["cells"].append({"cell_type": "code", "metadata": {"nbgrader": {"grade_id": "SECRET" * 100}}, "source": ""})
        baked["exports"]["cells"].append("SECRET" * 100)

    found = notebook(change)
    assert not any(b"SECRET" in data for data in found.staged.values())
    baked = json.loads((entry / "work" / "02_activations" / "assignment.json").read_text())
    baked["exports"]["cells"].append("gone")
    (entry / "work" / "02_activations" / "assignment.json").write_text(json.dumps(baked))
    with pytest.raises(package.PackageError, match="'gone' is missing"):
        package.read(entry)


def test_code_has_a_limit(entry):
    with open(entry / "entry.py", "a") as f:
        f.writelines(f"name_{k} = other_{k}\n" for k in range(3000))
    with pytest.raises(package.PackageError, match="the code is"):
        package.read(entry)


def test_a_deep_expression_is_refused_and_does_no_harm(entry):
    (entry / "entry.py").write_text("x = " + "(" * 5000 + ")" * 5000)
    with pytest.raises(package.PackageError, match="entry.py"):
        package.read(entry)


def test_models_survive_the_way_and_rubbish_does_not():
    model = {"w0": np.arange(6, dtype="int8").reshape(2, 3), "b": np.zeros((), "float32"), "h": np.ones(3, "float16")}
    back = arrays.unpack(arrays.pack(model))
    assert all(np.array_equal(model[k], back[k]) and model[k].dtype == back[k].dtype for k in model) and arrays.size(back) == 6 + 4 + 6
    for wrong in ({}, [], {"a": [1]}, {"a": np.ones((0, 9999))}, {"a b": np.ones(1)}, {"a": np.array([object()])}, {"a": np.array(["text"])}):
        with pytest.raises(ValueError):
            arrays.pack(wrong)

    def header(rows, body=b""):
        head = json.dumps(rows).encode()
        return struct.pack("<I", len(head)) + head + body
    good = arrays.pack(model)
    for data in (b"", good[:-1], good + b"x", header([["a", "object", [1]]], b"x" * 8), header([["a", "int8", [-1]]]), header([["a", "int8", [0, 77]]]), header([["a", "int8", [1 << 40]]]),
                 header([["a", "int8", [1]], ["a", "int8", [1]]], b"xx"), header({"a": 1}), struct.pack("<I", 1 << 31), header("[" * 9999)):
        with pytest.raises(ValueError):
            arrays.unpack(data)


def test_names_of_arrays_are_data_where_they_are_long():
    assert arrays.size({f"weight{k}": np.ones(4, "int8") for k in range(8)}) == 32
    assert arrays.size({f"{'x' * 60}{k}": np.ones(1, "int8") for k in range(10, 50)}) == 40 + 40 * 62 - arrays.NAMES


def test_stored_arrays_are_never_unpickled_or_unpacked_beyond_measure(tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/harmed",))
    pickled, swollen = io.BytesIO(), io.BytesIO()
    np.savez(pickled, a=np.array([Harm()], dtype=object))
    with zipfile.ZipFile(swollen, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.npy", bytes(50 << 20))
    for data in (pickled.getvalue(), swollen.getvalue(), b"PK rubbish", b""):
        with pytest.raises(ValueError):
            arrays.read_npz(data)
    assert not (tmp_path / "harmed").exists()
    good = io.BytesIO()
    np.savez(good, w=np.ones((2, 2), "int8"))
    assert arrays.read_npz(good.getvalue())["w"].shape == (2, 2)


def test_what_is_written_of_a_hostile_entry_can_be_read(entry, tmp_path):
    """A folder's and a file's name may hold anything; the page of what is refused or disqualified holds none of it as markup."""
    from mlsysbook.olympics import event as events
    from mlsysbook.olympics import page, simulate

    (entry / "bad\udcff.py").touch()
    with pytest.raises(package.PackageError, match="can be printed"):
        package.read(entry)
    (entry / "bad\udcff.py").unlink()
    edit(entry, 'track = "tiny"', 'track = "<script>alert(1)</script>"')
    hostile = tmp_path / "<img src=x onerror=alert(1)>\x1b[2J"
    entry.rename(hostile)
    event = events.create(tmp_path / "event", "<b>games</b>", simulate.DUE)
    name, note = events.submit(event, hostile, now=simulate.DUE)
    assert "unknown track" in note
    assert events.run(event) == 1 and event.find(name).kind == "package"
    text = page.write(event).read_text() + (event.folder / "page" / "entries" / f"{name}.html").read_text()
    assert "<script>alert" not in text and "<img" not in text and "<b>games" not in text and "\x1b" not in text
