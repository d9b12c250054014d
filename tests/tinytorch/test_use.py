"""tinytorch.use: the framework on a student's own notebooks, whole or not at all."""

import json
import re
import shutil
import sys
from importlib import import_module

import numpy as np
import pytest

import tinytorch
from mlsysbook import catalogue, demo
from mlsysbook.build.source import read
from mlsysbook.build.student import student_copy
from tinytorch import student

MODULES = [a for a in catalogue.load().assignments if a.exports]
FIRST = MODULES[0]


def name_of(a):
    return a.exports.removeprefix("tinytorch/").removesuffix(".py")


def solved(a, folder):
    """A folder with the notebook of `a` as a student hands it in, right -> its Desk."""
    student_copy(a, folder)
    desk = demo.Desk(catalogue.load(), a, "s", folder)
    desk.solve()
    desk.save()
    return desk


def change(desk, cell, old, new):
    text = "".join(desk.cell(cell)["source"])
    assert old in text
    desk.cell(cell)["source"] = text.replace(old, new)
    desk.save()


@pytest.fixture
def work(tmp_path):
    """A student's folder in which the first module is done -> (folder, Desk)."""
    return tmp_path, solved(FIRST, tmp_path / FIRST.notebook)


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = {name: module for name, module in sys.modules.items() if name.startswith("tinytorch.")}
    yield
    assert tinytorch.provenance() == dict.fromkeys(tinytorch.provenance())
    assert {name: sys.modules[name] for name in before} == before


def test_a_students_mistake_shows_inside_the_block_and_nowhere_else(work):
    folder, desk = work
    change(desk, "solution-div", "return a / b", "return b / a")
    halves = tinytorch.Tensor([1.0]) / 2
    with tinytorch.use(folder):
        from tinytorch import Tensor

        assert (Tensor([1.0]) / 2).item() == 2 and tinytorch.Tensor is Tensor and tinytorch.tensor.Tensor is Tensor
        assert not isinstance(halves, Tensor)
    assert halves.item() == 0.5 and (tinytorch.Tensor([1.0]) / 2).item() == 0.5 and isinstance(halves, tinytorch.Tensor)


@pytest.mark.parametrize("what", ["notebook", "folder", "above"])
def test_a_notebook_its_folder_or_the_folder_above_will_do(work, what):
    folder, desk = work
    with tinytorch.use({"notebook": desk.path, "folder": desk.folder, "above": str(folder)}[what]):
        whose = tinytorch.provenance()
        assert whose["tensor"] == desk.path and str(whose).startswith("yours: tensor")
        assert {name for name, path in whose.items() if path is None} >= {name_of(a) for a in MODULES[1:]}
    assert str(tinytorch.provenance()).startswith("reference: tensor")


def test_every_later_module_stands_on_the_students_earlier_one(work):
    folder, _ = work
    with tinytorch.use(folder):
        own = tinytorch.Tensor
        for a in MODULES[1:]:
            module = import_module(f"tinytorch.{name_of(a)}")
            assert getattr(module, "Tensor", own) is own
            assert all(own in made.__mro__ for made in vars(module).values() if isinstance(made, type) and "Tensor" in str(made.__mro__[1:]))
        assert all(getattr(tinytorch, n) is not None for a in MODULES for n in tinytorch._MODULES[name_of(a)])


def test_a_student_who_has_done_all_runs_on_nothing_else(tmp_path):
    paths = {name_of(a): solved(a, tmp_path / a.id).path for a in MODULES}
    with tinytorch.use(tmp_path):
        assert {name: path for name, path in tinytorch.provenance().items() if path} == paths
        for name, path in paths.items():
            assert import_module(f"tinytorch.{name}").__file__ == str(path)


def test_use_none_is_the_reference_again_and_blocks_nest(work, tmp_path_factory):
    folder, desk = work
    other = tmp_path_factory.mktemp("other")
    change(solved(FIRST, other / "a"), "solution-div", "return a / b", "return b / a")
    reference = tinytorch.Tensor
    tinytorch.use(folder)
    own = tinytorch.Tensor
    with tinytorch.use(other):
        assert tinytorch.Tensor not in (own, reference) and (tinytorch.Tensor([1.0]) / 4).item() == 4
        with tinytorch.use(None):
            assert tinytorch.Tensor is reference
        assert (tinytorch.Tensor([1.0]) / 4).item() == 4
    assert tinytorch.Tensor is own and own is not reference
    tinytorch.use(None)
    assert tinytorch.Tensor is reference
    with tinytorch.use(None):
        assert tinytorch.Tensor is reference
    assert tinytorch.Tensor is reference


def test_a_notebook_in_which_nothing_is_written_leaves_the_reference_in_place(tmp_path):
    student_copy(FIRST, tmp_path / "a")
    with tinytorch.use(tmp_path):
        assert tinytorch.provenance()["tensor"] is None and (tinytorch.Tensor([1.0]) / 2).item() == 0.5


def test_a_traceback_shows_the_students_line_and_its_cell(work):
    folder, desk = work
    change(desk, "solution-div", "return a / b", "oops = a / c; return oops")
    with tinytorch.use(folder):
        try:
            tinytorch.Tensor([1.0]) / 2
        except NameError:
            import traceback
            text = traceback.format_exc()
    assert f"<{FIRST.notebook}.ipynb, cell solution-div>" in text and "oops = a / c; return oops" in text


def without(cell):
    def work(desk):
        desk.nb["cells"].remove(desk.cell(cell))
        desk.save()
    return work


WRONG = {
    "not written": (lambda d: (d.cell("solution-div").update(source="class Div:\n    def forward(self, a, b):\n        raise NotImplementedError()"),
                               d.save()), r"01_tensor\.ipynb, cell solution-div: not written yet, and 12 of 13 exercises are; .*--skip tensor"),
    "syntax error": (lambda d: change(d, "solution-div", "return a / b", "return a b"), r"01_tensor\.ipynb, cell solution-div: SyntaxError: .*, line \d+"),
    "an error": (lambda d: change(d, "solution-sum", "class Sum(Function)", "class Sum(Functoin)"), r"01_tensor\.ipynb, cell solution-sum: NameError: .*Functoin"),
    "a missing cell": (without("solution-div"), r"01_tensor\.ipynb: cell solution-div is missing; fetch"),
    "a lost name": (lambda d: (next(c for c in d.nb["cells"] if "def arange(" in "".join(c["source"])).update(source="zeros = ones = full = 1"), d.save()),
                    r"01_tensor\.ipynb: its cells do not define arange"),
    "half a file": (lambda d: d.path.write_text(d.path.read_text()[:5000]), r"01_tensor\.ipynb: not a readable notebook \(JSONDecodeError\)"),
    "no notebook in it": (lambda d: d.path.write_text("[]"), r"01_tensor\.ipynb: not a readable notebook"),
    "a sidecar cut off": (lambda d: (d.folder / "assignment.json").write_text("{"), r".*assignment\.json: not readable, .*; fetch it again"),
    "two of them": (lambda d: shutil.copytree(d.folder, d.folder.parent / "again"), r"two notebooks for tinytorch\.tensor: \S+ and \S+; name"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("before", ["reference", "own"])
def test_what_cannot_be_used_is_one_line_and_changes_nothing(work, tmp_path_factory, wrong, before):
    folder, desk = work
    good = tmp_path_factory.mktemp("good")
    solved(FIRST, good / "a")
    spoil, message = WRONG[wrong]
    spoil(desk)
    with tinytorch.use(None if before == "reference" else good):
        tensor, whose = tinytorch.Tensor, tinytorch.provenance()
        with pytest.raises(tinytorch.NotebookError) as error:
            tinytorch.use(folder)
        assert re.fullmatch(message + ".*", str(error.value))
        assert tinytorch.Tensor is tensor and tinytorch.provenance() == whose


def test_a_module_that_is_begun_can_be_skipped(work):
    folder, desk = work
    WRONG["not written"][0](desk)
    with tinytorch.use(folder, skip=["tensor"]):
        assert tinytorch.provenance()["tensor"] is None
    desk.path.write_text("half a file")
    with tinytorch.use(folder, skip=["tensor"]):
        assert tinytorch.provenance()["tensor"] is None
    with pytest.raises(ValueError, match="no module 'tensors' to skip; there are tensor, activations"):
        tinytorch.use(folder, skip=["tensors"])


def test_where_there_is_no_notebook_it_says_so(tmp_path):
    for place in (tmp_path, tmp_path / "none", tmp_path / "none.ipynb"):
        with pytest.raises(FileNotFoundError, match="no notebook of a TinyTorch module"):
            tinytorch.use(place)
    solved(FIRST, tmp_path / "a").path.unlink()
    with pytest.raises(FileNotFoundError, match="no such notebook"):
        tinytorch.use(tmp_path / "a" / f"{FIRST.notebook}.ipynb")


def test_checkpoints_and_other_notebooks_are_left_aside(work):
    folder, desk = work
    shutil.copytree(desk.folder, desk.folder / ".ipynb_checkpoints")
    (folder / "scratch.ipynb").write_text("not even JSON")
    (desk.folder / "scratch.ipynb").write_text("not even JSON")
    with tinytorch.use(folder):
        assert tinytorch.provenance()["tensor"] == desk.path
    with tinytorch.use(desk.folder):
        assert tinytorch.provenance()["tensor"] == desk.path


@pytest.mark.parametrize("a", MODULES, ids=lambda a: a.id)
def test_the_cells_that_make_a_module_are_those_of_the_exported_file(a):
    baked = json.loads((a.source_dir / "assignment.json").read_text())["exports"]
    cells = {c["id"]: c["source"] for c in json.loads(a.notebook_path.read_text())["cells"]}
    text = "\n\n\n".join(re.sub(r"\n *### (BEGIN|END) SOLUTION", "", cells[i]) for i in baked["cells"])
    assert baked["to"] == a.exports
    assert (catalogue.find_root() / a.exports).read_text().split("\n\n", 1)[1] == text + "\n"


@pytest.mark.parametrize("a", MODULES, ids=lambda a: a.id)
def test_no_solution_of_the_reference_looks_as_if_it_were_not_written(a):
    assert [c.name for c in read(a.author_source) if c.kind == "solution" and student._blank(c.text)] == []


def test_a_tensor_made_before_says_so_beside_one_made_after(work):
    folder, _ = work
    old = tinytorch.Tensor(np.ones(2))
    with tinytorch.use(folder), pytest.raises(TypeError):
        tinytorch.Tensor([1.0, 2.0]) + old


def test_operations_on_kernels_take_the_tensors_that_are_in_force(tmp_path):
    solved(next(a for a in MODULES if name_of(a) == "data"), tmp_path / "work")
    x = np.ones((2, 3), np.float32)

    def through():
        layers, embeddings, transformers = (import_module(f"tinytorch.{name}") for name in ("layers", "embeddings", "transformers"))
        model = layers.Sequential(embeddings.Embedding(4, 8), transformers.Block(8, 2), transformers.RMSNorm(8), layers.Linear(8, 3))
        y = model(tinytorch.Tensor([[0, 3]])) + layers.Linear(3, 3)(tinytorch.Tensor(x))
        y.sum().backward()
        assert isinstance(y, tinytorch.Tensor)

    through()
    with tinytorch.use(tmp_path / "work"):
        through()
    through()
