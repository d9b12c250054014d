"""What an entry may try: each attempt ends in a disqualification with its reason, or gains nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlsysbook.olympics import measure, package, trial
from mlsysbook.olympics.boxed import Box, Fault

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def attempt(world, staged, brief, entry):
    """Run code added to the starter -> what was measured. Raises Fault."""
    def run(code="", manifest=()):
        made, track, ref, ref_model = world
        found = package.read(entry(code, manifest))
        model, _ = measure.build(found, track, made, staged)
        return measure.measured(found, model, ref, ref_model, track, made, staged)

    return run


FAULTS = {
    "nan": ("nan", "logits are NaN"),
    "wrong-shape": ("shape", "wants logits"),
    "guesses": ("accuracy", "no better than guessing"),
    "hangs": ("time", "did not answer within"),
    "shadow": ("escape", "/etc/shadow"),
    "network": ("escape", "network"),
    "busy": ("processors", "1 more process"),
    "no-build": ("crash", "matmul"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_a_disqualification_with_its_reason(attempt, kind):
    from mlsysbook.olympics.simulate import KINDS

    wanted, said = FAULTS[kind]
    with pytest.raises(Fault, match=said) as caught:
        attempt(KINDS[kind].code)
    assert caught.value.kind == wanted == KINDS[kind].expected


def test_an_answer_forged_on_the_line_before_its_time_is_a_wrong_answer(attempt):
    with pytest.raises(Fault) as caught:
        attempt("""
import os, struct
def predict(layers, x):
    said = struct.pack("<cQ", b"+", 40 * len(x)) + bytes(40 * len(x))
    for fd in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket"):
                os.write(fd, said)
        except OSError:
            pass
    return capstone.run({"layers": layers}, x)
""")
    assert caught.value.kind in ("accuracy", "escape", "patched", "time", "crash")     # where the bytes fell; never a result


def test_printed_results_and_a_patched_clock_inside_count_for_nothing(attempt):
    with pytest.raises(Fault, match=r"replaced time\.perf_counter") as caught:
        attempt("\nimport time\ntime.perf_counter = lambda: 0.0\nprint({'accuracy': 1.0, 'seconds': 0.0})\n")
    assert caught.value.kind == "patched"


def test_sleeping_costs_what_it_takes_whatever_is_said_of_it(attempt, world):
    with pytest.raises(Fault, match="times as long as the reference") as caught:
        attempt("""
import time
fast = predict
def predict(layers, x):
    time.sleep(0.02)
    return fast(layers, x)
""")
    assert min(caught.value.evidence["starts"][0]["seconds"]) > 0.02


@pytest.mark.parametrize("used, awake, caught", [((1.0, 1.0), 1.0, False), ((1.9, 1.0), 1.0, True), ((0.0, 1.9), 1.0, True), ((0.004, 0.04), 0.0, False)])
def test_more_time_than_one_processor_has_is_a_fault(used, awake, caught):
    """By threads that are there, or in ticks with those that ended; what a machine has free decides whether a second one is had at all."""
    if not caught:
        return measure.alone(used, awake)
    with pytest.raises(Fault, match="of processor time in turns") as found:
        measure.alone(used, awake)
    assert found.value.kind == "processors"


def test_an_answer_kept_from_before_is_never_asked_for_again(attempt):
    found = attempt("""
kept, asked = set(), predict
def predict(layers, x):
    assert x[:3].tobytes() not in kept, "asked twice"
    kept.add(x[:3].tobytes())
    return asked(layers, x)
""")
    assert found["accuracy"] > 0.7


def test_what_build_leaves_behind_does_not_reach_predict(attempt):
    with pytest.raises(Fault, match="AttributeError|FileNotFoundError") as caught:
        attempt("""
made = build
def build(x, y, budget, seed):
    open("/tmp/all", "wb").write(x.tobytes())
    return made(x, y, budget, seed)
def load(model):
    return open("/tmp/all", "rb").read()
""")
    assert caught.value.kind == "crash"


def test_no_data_set_is_in_the_box(attempt):
    with pytest.raises(Fault, match="ImportError|ModuleNotFoundError|AttributeError"):
        attempt("\nfrom tinytorch import datasets\ndatasets.digits()\n")


def test_memory_that_no_array_shows_is_seen(attempt):
    with pytest.raises(Fault, match="MiB of memory above the reference") as caught:
        attempt("\nheap = np.ones(6 << 20)\n")
    assert caught.value.kind == "budget"


def test_a_model_that_is_none_is_named(attempt):
    with pytest.raises(Fault) as caught:
        attempt("\ndef build(x, y, budget, seed):\n    return {'w': [1, 2]}\n")
    assert caught.value.kind == "crash" and "not the name of a NumPy array" in str(caught.value)


def test_an_answer_that_is_too_long_is_not_read(world, staged, entry):
    found = package.read(entry("\ndef predict(layers, x):\n    return np.zeros((4000, 1000))\n"))
    with measure.Staged(found) as place, Box(staged, place.folder, measure.job(found, world[1])) as box:
        box.ask(b"L", most=0, seconds=20)
        box.ask(b"M", world[3], most=0, seconds=20)
        with pytest.raises(Fault, match="16,000,000 bytes") as caught:
            box.ask(b"?", world[0].request(0, 0)[0], most=40960, seconds=5)
    assert caught.value.kind == "shape"


def test_while_one_is_stopped_it_does_nothing(world, staged, entry):
    found = package.read(entry("\nimport threading\ndef spin():\n    while True:\n        pass\nthreading.Thread(target=spin, daemon=True).start()\n"))
    import time
    with measure.Staged(found) as place, Box(staged, place.folder, measure.job(found, world[1])) as box:
        box.ask(b"L", most=0, seconds=20)
        box.freeze()
        before = box.cpu()
        time.sleep(0.3)
        assert max(now - then for now, then in zip(box.cpu(), before, strict=True)) < 0.05
        box.thaw()
        until = time.monotonic() + 60
        while max(now - then for now, then in zip(box.cpu(), before, strict=True)) <= 0.05:
            assert time.monotonic() < until, "it does not go on"
            time.sleep(0.02)


def test_own_notebooks_are_what_runs(attempt, entry, world, staged):
    source = ROOT / "source" / "tinytorch-02_activations"

    def with_notebook(folder, change):
        work = folder / "work" / "02"
        work.mkdir(parents=True)
        book = json.loads((source / "02_activations.ipynb").read_text())
        for c in book["cells"]:
            if c["metadata"].get("nbgrader", {}).get("grade_id") in ids:
                c["source"] = "".join(c["source"]) + change
                break
        (work / "02_activations.ipynb").write_text(json.dumps(book))
        shutil.copyfile(source / "assignment.json", work / "assignment.json")
        return package.read(folder)

    ids = json.loads((source / "assignment.json").read_text())["exports"]["cells"]
    manifest = [("# notebooks", "notebooks")]
    made, track, _, _ = world
    good = with_notebook(entry(manifest=manifest), "\n")
    assert good.own == ["activations"] and len(measure.build(good, track, made, staged)[0]) > 700
    bad = with_notebook(entry(manifest=manifest), "\nraise RuntimeError('of my notebook')\n")
    with pytest.raises(Fault, match="of my notebook"):
        measure.build(bad, track, made, staged)


def test_the_starter_is_valid_and_scores_one(entry, brief):
    found = trial.check(entry())
    assert found.fault is None
    assert found.result["scores"]["memory"] == found.result["scores"]["accuracy"] == [1, 1, 1]
    assert 1 / 3 < found.result["scores"]["latency"][0] < 3
    assert np.sum(found.result["starts"][0]["asked"]) == 1024 * sum((measure.WARM + 1, measure.TURNS * (measure.REQUESTS + 1)))
