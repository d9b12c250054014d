"""What an entry may hand in, and what is said of the rest."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from mlsysbook.olympics import arrays, package, tracks


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


def test_data_in_code_counts_as_bytes(entry):
    with open(entry / "entry.py", "a") as f:
        f.write(f"\nA = {'x' * 500!r}\nB = {list(range(300))}\nC = {1 << 8000}\n")
    assert package.read(entry).carried >= 500 + 8 * (300 - package.NUMBERS) + 1000


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
    for wrong in ({}, [], {"a": [1]}, {"a b": np.ones(1)}, {"a": np.array([object()])}, {"a": np.array(["text"])}):
        with pytest.raises(ValueError):
            arrays.pack(wrong)

    def header(rows, body=b""):
        head = json.dumps(rows).encode()
        return struct.pack("<I", len(head)) + head + body
    good = arrays.pack(model)
    for data in (b"", good[:-1], good + b"x", header([["a", "object", [1]]], b"x" * 8), header([["a", "int8", [-1]]]), header([["a", "int8", [1 << 40]]]),
                 header([["a", "int8", [1]], ["a", "int8", [1]]], b"xx"), header({"a": 1}), struct.pack("<I", 1 << 31), header("[" * 9999)):
        with pytest.raises(ValueError):
            arrays.unpack(data)


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
