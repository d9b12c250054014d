"""Milestones: they pass, they fail when they should, their pages tell the truth, and --mine runs the student's own code."""

import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytorch
from mlsysbook import catalogue, demo
from mlsysbook.build.student import student_copy
from mlsysbook.errors import CatalogueError
from mlsysbook.milestones import BEGIN, CONTROLS, END, Gate, Run, draw, find, load, main, milestones

pytestmark = pytest.mark.slow

COURSE = catalogue.load()
ALL = milestones(COURSE.root)
MODULES = [a for a in COURSE.assignments if a.exports]
MLSYS = Path(sys.executable).parent / "mlsys"
SLOW = {m.name: [pytest.mark.slow] for m in ALL[2:]}
SHORT = {"04_cnn": {"epochs": 1}, "06_mlperf": {"epochs": 1}}     # enough to see that a run repeats itself
FEWER = {"05_transformer": {"TASK_STEPS": 10, "STEPS": 10}}
LONG = {"05_transformer"}               # a run takes tens of seconds: not a third time here
each = pytest.mark.parametrize("milestone", ALL, ids=lambda m: m.name)
each_run = pytest.mark.parametrize("milestone", [pytest.param(m, marks=SLOW.get(m.name, ())) for m in ALL], ids=lambda m: m.name)


def calibrate():
    spec = importlib.util.spec_from_file_location("calibrate", COURSE.root / "milestones" / "calibrate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CALIBRATE = calibrate()


def mlsys(*arguments, cwd="/"):
    return subprocess.run([MLSYS, "milestone", *map(str, arguments)], capture_output=True, text=True, timeout=480, cwd=cwd)


@pytest.fixture(scope="module")
def runs():
    """One run of each milestone, made when it is first asked for."""
    made = {}

    def run_of(milestone):
        if milestone.name not in made:
            script = load(milestone.path)
            made[milestone.name] = script, script["run"](0)
        return made[milestone.name]

    return run_of


def failed(script, run):
    return [g.measure for g in script["GATES"] if not g.holds(run.values[g.measure])]


# -- gates

@each_run
def test_the_reference_passes(runs, milestone):
    assert failed(*runs(milestone)) == []


@each_run
def test_the_same_seed_measures_the_same_and_draws_the_same_bytes(runs, milestone, tmp_path):
    script, how = load(milestone.path), SHORT.get(milestone.name, {})
    script.update(FEWER.get(milestone.name, {}))
    run, again = (script["run"](0, **how) for _ in range(2)) if how or milestone.name in LONG else (runs(milestone)[1], script["run"](0))
    assert again.measured == run.measured and again.timed.keys() == run.timed.keys()
    for kind in ("svg", "png"):
        for name, of in (("a", run), ("b", run if run.timed else again)):
            draw(script["draw"], of, tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert script["run"](1, **how).measured != run.measured


@each_run
@pytest.mark.parametrize("control", CONTROLS)
def test_without_training_or_on_shuffled_labels_it_fails(milestone, control):
    script = load(milestone.path)
    assert failed(script, script["run"](0, **CONTROLS[control]))


@pytest.mark.slow
@pytest.mark.parametrize("milestone", [m for m in ALL[1:] if m.name not in LONG], ids=lambda m: m.name)
def test_with_a_backward_that_does_nothing_it_fails(milestone):
    assert CALIBRATE.STUBBED in CALIBRATE.wrong_runs(load(milestone.path))
    assert CALIBRATE.measure(milestone.path, 0, CALIBRATE.STUBBED)[2]


def test_a_number_that_is_none_fails_its_gate():
    assert not any(g.holds(float("nan")) for g in (Gate("x", at_least=0), Gate("x", at_most=0), Gate("x")))
    assert Gate("x", at_least=1, at_most=2).holds(2) and not Gate("x", at_least=1, at_most=2).holds(2.1)


def test_the_perceptron_makes_no_more_mistakes_than_the_bound_and_learns_what_a_line_can(rng):
    script = load(ALL[0].path)
    for margin in (0.3, 0.1):
        line = script["random_line"](rng)
        x, y = script["points"](rng, 50, line, margin)
        assert np.abs(x @ line).min() >= margin and np.array_equal(np.sign(x @ line), y)
        weights, mistakes = script["perceptron"](x, y, 500)
        assert len(weights) == sum(mistakes) + 1 <= script["bound"](x, y, line) + 1 and mistakes[-1] == 0
        assert (y * (x @ weights[-1]) > 0).all() and script["accuracy"](x, y, weights[-1]) == 1
        w = np.zeros(3)                 # the rule in plain NumPy
        for v, label in zip(np.tile(x, (len(mistakes), 1)), np.tile(y, len(mistakes)), strict=True):
            w += label * v * (label * (w @ v) <= 0)
        assert weights[-1] == pytest.approx(w)


def test_units_of_one_layer_are_all_that_lines_can_draw():
    labelings = {tuple(row) for row in load(ALL[1].path)["every_unit"]().astype(int)}
    assert len(labelings) == 14 and not labelings & {(0, 1, 1, 0), (1, 0, 0, 1)}


def test_the_digits_are_those_that_the_licence_describes():
    path = COURSE.root / "tinytorch" / "datasets" / "digits.npz"
    with np.load(path, allow_pickle=False) as data:
        images, labels, test = data["images"], data["labels"], data["test"]
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8 and images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]    # of UCI's test set
    assert all(round(0.2 * n) == t for n, t in zip(np.bincount(labels), np.bincount(labels[test]), strict=True))
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] == "7aeaad9c67ca55f6"
    licence = path.with_suffix(".source.txt").read_text()
    assert all(text in licence for text in ("CC BY 4.0", "10.24432/C50P49", "1,797", str(test.sum()), f"{(~test).sum():,}"))


# -- pages and calibration

@each
def test_the_page_shows_its_plot_its_gates_and_its_sources(milestone):
    page = milestone.path.with_suffix(".md").read_text()
    alt = re.search(rf"!\[([^]]{{80,}})\]\({milestone.name}\.svg\)", page)
    assert alt and milestone.path.with_suffix(".svg").stat().st_size < 100_000
    table = page.partition(BEGIN)[2].partition(END)[0]
    for g in load(milestone.path)["GATES"]:
        assert re.search(rf"^\| {re.escape(g.measure)} \| \S+ \| {g}", table, re.MULTILINE), "run mlsys milestone NAME --page"
    assert "## Sources" in page and "calibration.md" in page
    svg = milestone.path.with_suffix(".svg").read_text()
    assert "http" not in re.sub(r"http://www\.w3\.org|http://purl\.org|https://matplotlib\.org|http://creativecommons\.org", "", svg)


@each
def test_its_gates_were_calibrated_on_twenty_seeds_and_leave_room(milestone):
    text = (COURSE.root / "milestones" / "calibration.md").read_text()
    section = text.partition(f"## {milestone.title}\n")[2].partition("\n## ")[0]
    seeds, passed = map(int, re.search(r"(\d+) seeds, (\d+) passed", section).groups())
    assert seeds == passed >= 20
    wrong = int(re.search(r"fail, (\d+) seeds? each", section)[1])
    kinds = CALIBRATE.wrong_runs(load(milestone.path))
    assert wrong >= 5 and all(f"{kind} {wrong} failed" in section for kind in kinds)
    rows = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in section.splitlines() if line.startswith("|")}
    for g in load(milestone.path)["GATES"]:
        gate, least, median, most = rows[g.measure][:4]
        assert gate == str(g), "run milestones/calibrate.py"
        assert float(least) <= float(median) <= float(most) and g.holds(float(least)) and g.holds(float(most))


# -- the command

def test_the_list_has_every_milestone():
    done = mlsys("list")
    assert done.returncode == 0 and [line.split()[0] for line in done.stdout.splitlines()] == [m.name for m in ALL]
    assert len(ALL) >= 3 and "Rosenblatt 1958" in done.stdout


@pytest.mark.parametrize(("name", "found"), [("perceptron", 0), ("01_perceptron", 0), ("1", 0), ("xor", 1), ("mlp", 2), ("03", 2), ("cnn", 3), ("transformer", 4), ("mlperf", 5)])
def test_a_milestone_is_found_by_name_number_or_start(name, found):
    assert find(COURSE.root, name) == ALL[found]


@pytest.mark.parametrize(("name", "said"), [("xr", "did you mean xor"), ("zzzz", "there are perceptron, xor")])
def test_an_unknown_milestone_is_told_with_the_nearest(name, said):
    with pytest.raises(CatalogueError, match=said):
        find(COURSE.root, name)
    done = mlsys(name)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_it_passes_with_status_0_draws_and_says_whose_code_it_ran(tmp_path):
    done = mlsys("xor", "--seed", 3, "--plot", tmp_path / "x.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 3" in done.stdout and "passed in" in done.stdout.splitlines()[-1] and (tmp_path / "x.png").stat().st_size > 5000
    assert re.search(r"code   reference: tensor, .*autograd", done.stdout) and "yours" not in done.stdout


def test_a_plot_does_not_depend_on_a_matplotlibrc(tmp_path):
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\n")
    for name, folder in (("a", "/"), ("b", tmp_path)):
        command = [sys.executable, ALL[0].path, "--plot", tmp_path / f"{name}.svg"]
        assert subprocess.run(command, capture_output=True, timeout=240, cwd=folder).returncode == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_it_fails_with_status_1_and_says_why():
    done = mlsys("perceptron", "--control", "untrained")
    assert done.returncode == 1
    assert re.match(r"failed in .*accuracy on 1,000 new points is 0, wants at least", done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("arguments", "said"), [(("--plot", "x.pdf"), "a plot is written as .svg or .png"), (("--mine", "/nowhere"), "no notebook"),
                                                 (("--page", "--seed", 1), "a page shows the reference"), (("--control", "x"), "invalid choice"),
                                                 (("--skip", "tensor"), "without --mine"), (("--plot", "/nowhere/x.svg"), "no folder /nowhere")])
def test_what_cannot_be_run_is_status_2_and_a_line(arguments, said):
    done = mlsys("perceptron", *arguments)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1] and done.stdout == ""


def test_an_error_inside_a_run_fails_the_milestone(tmp_path, monkeypatch, capsys):
    def run(seed, progress):
        raise NotImplementedError("nothing here")

    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(SystemExit) as left:
        main({"__file__": str(tmp_path / "01_x.py"), "__doc__": "X", "GATES": (), "run": run, "draw": None})
    assert left.value.code == 1 and "failed: NotImplementedError: nothing here" in capsys.readouterr().out


def test_the_page_of_a_run_is_written_between_its_marks(tmp_path, monkeypatch):
    page = tmp_path / "01_x.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    script = {"__file__": str(tmp_path / "01_x.py"), "__doc__": "X", "GATES": (Gate("a", at_least=1),),
              "run": lambda seed, progress: Run({"a": 2.0, "b": 1234}, {}), "draw": lambda figure, run: figure.subplots()}
    monkeypatch.setattr(sys, "argv", ["x", "--page"])
    with pytest.raises(SystemExit, match="0"):
        main(script)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "| a | 2 | at least 1 |" in text and "| b | 1,234 |  |" in text and "old" not in text and (tmp_path / "01_x.svg").is_file()


# -- on files of one's own

def textures(rng, n, shape):
    """Images of ten textures in either sign, which no line separates, and noise -> bytes (n, *shape), labels."""
    kinds = np.random.default_rng(7).choice([-1, 1], (10, *shape))
    labels = rng.integers(0, 10, n)
    images = 128 + 60 * kinds[labels] * rng.choice([-1, 1], (n, 1, 1, 1)) + rng.normal(0, 20, (n, *shape))
    return images.clip(0, 255).astype(np.uint8), labels.astype(np.uint8)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def files_of(kind, folder, rng):
    """A small set in the format of MNIST or CIFAR-10: 400 images to learn from, 100 to be tested on."""
    if kind == "mnist":
        for part, n in (("train", 400), ("t10k", 100)):
            images, labels = textures(rng, n, (1, 16, 16))
            (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images[:, 0]))
            (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    else:
        for name, n in (*((f"data_batch_{k}", 80) for k in range(1, 6)), ("test_batch", 100)):
            images, labels = textures(rng, n, (3, 32, 32))
            (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], images.reshape(n, -1)], axis=1).tobytes())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("mlp", "mnist"), ("cnn", "mnist"), ("mlp", "cifar10"), ("cnn", "cifar10")])
def test_milestones_run_on_files_in_the_formats_of_mnist_and_cifar10(name, kind, tmp_path, rng):
    files_of(kind, tmp_path, rng)
    done = mlsys(name, "--data", tmp_path, "--plot", tmp_path / "x.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"images of {tmp_path}" in done.stdout and done.stdout.count("holds") == 1 and (tmp_path / "x.png").is_file()
    channels, side = {"mnist": (1, 16), "cifar10": (3, 32)}[kind]
    weights = {"mlp": 128 * channels * side**2 + 128 + 1290,
               "cnn": 16 * (9 * channels + 1) + 32 * (16 * 9 + 1) + 10 * (32 * ((side + 4) // 4)**2 + 1)}
    assert re.search(rf"parameters.* {weights[name]:,}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("name", "file", "said"), [("cnn", None, "has neither train-images-idx3-ubyte nor data_batch_1.bin"),
                                                    ("mlp", "train-images-idx3-ubyte", "no IDX file; it starts with 00010203"),
                                                    ("xor", None, "--data FOLDER is for milestones on images: mlp and cnn")])
def test_files_that_cannot_be_used_are_status_2_and_a_line(name, file, said, tmp_path):
    if file:
        (tmp_path / file).write_bytes(bytes(range(99)))
    done = mlsys(name, "--data", tmp_path)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and len(done.stderr.splitlines()) == 1


# -- on the student's own code

def handed_in(folder, modules, change=None):
    """Notebooks of a student who solved these modules. change: (assignment, function of its Desk)."""
    for a in modules:
        student_copy(a, folder / a.notebook)
        desk = demo.Desk(COURSE, a, "s", folder / a.notebook)
        desk.solve()
        if change and change[0] == a:
            change[1](desk)
        desk.save()
    return folder


@pytest.fixture(scope="module")
def all_mine(tmp_path_factory):
    """The notebooks of a student who solved every module."""
    return handed_in(tmp_path_factory.mktemp("mine"), MODULES)


@pytest.mark.slow
def test_a_student_who_has_built_it_all_passes_on_nothing_but_their_own(all_mine):
    done = mlsys("mlp", "--mine", all_mine)
    assert done.returncode == 0, done.stdout + done.stderr
    code = next(line for line in done.stdout.splitlines() if line.startswith("code"))
    assert code.startswith("code   yours: tensor, activations, layers, losses, data, autograd, optimizers") and "reference" not in code


@pytest.mark.slow
@pytest.mark.parametrize(("name", "own"), [("cnn", "convolutions"), ("mlperf", "convolutions, quantization, compression")])
def test_later_milestones_pass_on_nothing_but_the_students_own(all_mine, name, own):
    done = mlsys(name, "--mine", all_mine)
    assert done.returncode == 0, done.stdout + done.stderr
    code = next(line for line in done.stdout.splitlines() if line.startswith("code"))
    assert code == f"code   yours: tensor, activations, layers, losses, autograd, optimizers, {own}"


@pytest.mark.slow
def test_a_students_transformer_learns(all_mine, tmp_path):
    """A few steps: all of them take minutes without kernels."""
    script, found = re.subn(r"(?m)^((?:TASK_)?STEPS, .* =) \d+", r"\1 20", find(COURSE.root, "transformer").path.read_text())
    assert found == 2
    (tmp_path / "05_transformer.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "05_transformer.py", "--mine", all_mine], capture_output=True, text=True, timeout=480,
                          env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 1 and "failed in" in done.stdout.splitlines()[-1], done.stderr        # by its gates, and not by an error
    own = "tensor, activations, layers, losses, autograd, optimizers, tokenization, embeddings, attention, transformers"
    assert f"code   yours: {own}\n" in done.stdout
    assert float(re.search(r"bits per byte of new text +(\S+)", done.stdout)[1]) < 4.5                # untrained, 4.7


@pytest.mark.slow
def test_a_student_of_the_first_module_runs_the_rest_on_the_reference(tmp_path):
    done = mlsys("xor", "--mine", handed_in(tmp_path, MODULES[:1]))
    assert done.returncode == 0 and re.search(r"code   yours: tensor; reference: activations, ", done.stdout)


@pytest.mark.slow
def test_a_students_broken_tensor_fails_the_milestone(tmp_path):
    def break_matmul(desk):
        cell = desk.cell("solution-matmul")
        cell["source"] = cell["source"].replace("return np.matmul(a, b)", "return 0 * np.matmul(a, b)")

    for name in ("perceptron", "xor"):
        done = mlsys(name, "--mine", handed_in(tmp_path / name, MODULES[:1], (MODULES[0], break_matmul)))
        assert done.returncode == 1 and "yours: tensor" in done.stdout and "failed in" in done.stdout


def autograd():
    return next(a for a in MODULES if a.exports == "tinytorch/autograd.py")


@pytest.mark.slow
@pytest.mark.parametrize("stub", ["return", "raise KeyError('lost')"])
def test_a_students_stubbed_backward_fails_the_milestone(tmp_path, stub):
    def stub_backward(desk):
        last = [c for c in desk.nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") in exported(autograd())][-1]
        last["source"] += f"\n\ndef backward(self, gradient=None, retain_graph=False):\n    {stub}\n\n\nTensor.backward = backward\n"

    done = mlsys("xor", "--mine", handed_in(tmp_path, [autograd()], (autograd(), stub_backward)))
    assert done.returncode == 1 and "failed" in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert stub == "return" or "KeyError: 'lost'" in done.stdout and "06_autograd.ipynb, cell" in done.stderr


def exported(a):
    return json.loads((a.source_dir / catalogue.SIDECAR).read_text())["exports"]["cells"]


def test_a_notebook_that_is_half_done_is_one_line_and_can_be_skipped(tmp_path):
    def half(desk):
        desk.cell("solution-matmul")["source"] = "class MatMul(Function):\n    def forward(self, a, b):\n        raise NotImplementedError()"

    handed_in(tmp_path, MODULES[:1], (MODULES[0], half))
    done = mlsys("perceptron", "--mine", tmp_path)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "01_tensor.ipynb, cell solution-matmul: not written yet" in done.stderr
    here = mlsys("perceptron", "--mine", cwd=tmp_path)
    assert here.returncode == 2 and "01_tensor.ipynb, cell solution-matmul: not written yet" in here.stderr
    done = mlsys("perceptron", tmp_path)
    assert done.returncode == 2 and "without --mine" in done.stderr
    done = mlsys("perceptron", "--mine", tmp_path, "--skip", "tensor")
    assert done.returncode == 0 and "code   reference: tensor; nothing of yours was run" in done.stdout


@pytest.mark.slow
def test_milestones_leave_the_framework_as_it_was(runs):
    for m in ALL:
        runs(m)
    assert not any(tinytorch.provenance().values())


def test_a_script_runs_by_itself_from_anywhere(tmp_path):
    shutil.copy(ALL[0].path, tmp_path / "mine.py")
    done = subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0 and "passed" in done.stdout, done.stderr
