"""What holds for every lab of the catalogue, on every track."""

import ast
import json
import re
import shutil

import numpy as np
import pytest
from pytest import approx

from mlsysbook import catalogue
from mlsysbook.answers.record import encode
from mlsysbook.box import library
from mlsysbook.labs.tracks import ENTRY, offered_by
from mlsysim import units
from tests.labs.lab import MLSYS, errors, grade_lab, reference, run_plain, solved

pytestmark = pytest.mark.slow  # every lab on every track, graded

LABS = {a.name: a for a in MLSYS.assignments if a.part == "labs"}


def baked(name):
    return json.loads((LABS[name].source_dir / catalogue.SIDECAR).read_text())


TRACKS = [(name, track) for name in LABS for track in offered_by(baked(name)["variants"]) or (None,)]
on_each_track = pytest.mark.parametrize(("name", "track"), TRACKS, ids=lambda x: str(x).removeprefix("labs/"))
of_each_lab = pytest.mark.parametrize("name", LABS, ids=lambda x: x.removeprefix("labs/"))


@pytest.fixture(scope="module")
def staged():
    folders = {}

    def of(a):
        if a.name not in folders:
            folders[a.name] = library.stage(MLSYS, a)
        return folders[a.name]

    yield of
    for folder in folders.values():
        shutil.rmtree(folder)


def predictions(ref):
    return [c for c in ref.cells if c.kind == "predict"]


def knows(ref, track):
    """The log of somebody who knows: the track, and each truth as a prediction with an interval of no width."""
    entries = [(ENTRY, track, "", "")] if track else []
    for c in predictions(ref):
        key = ref.key(c.name, ref.variant("ada", track))
        text = f"{100 * key.value:.12g} %" if key.unit == "%" else f"{key.value:.12g} {key.unit}".strip()
        entries.append((c.name, text, text, text))
    return entries


def test_the_catalogue_has_all_labs_by_number_and_those_that_are_written_under_their_titles():
    assert [x.number for x in MLSYS.labs] == [f"V1-{n:02}" for n in range(17)] + [f"V2-{n:02}" for n in range(1, 18)]
    assert len({x.title for x in MLSYS.labs}) == 34
    assert {x.assignment: f"Lab {x.number}: {x.title}" for x in MLSYS.labs if x.assignment} == {
        a.name: a.title for a in MLSYS.assignments if a.part == "labs"}


@of_each_lab
def test_a_lab_is_of_the_size_that_was_agreed(name):
    ref, a = reference(name), LABS[name]
    assert 45 <= a.minutes <= 60 and 20 <= a.points <= 30
    assert predictions(ref) and len(ref.checks) >= 2 and any(c.kind == "rubric" for c in ref.cells)


@on_each_track
def test_the_reference_gets_all_points(staged, tmp_path, name, track):
    a, ref = LABS[name], reference(name)
    record, nb = grade_lab(a, staged(a), tmp_path, knows(ref, track), solved(a))
    by_hand = sum(c.points for c in ref.cells if c.kind == "rubric")
    assert [i for i in record["items"] if i["score"] is not None and i["score"] < i["points"]] == []
    assert sum(i["score"] or 0 for i in record["items"]) == a.points - by_hand
    assert record["flags"] == [] and errors(nb) == []
    assert track is None or f"Your track: {track}." in json.dumps(nb)


@on_each_track
def test_an_empty_notebook_gets_nothing(staged, tmp_path, name, track):
    a = LABS[name]
    record, _ = grade_lab(a, staged(a), tmp_path, [(ENTRY, track, "", "")] if track else ())
    assert {i["score"] for i in record["items"]} == {0.0}


@of_each_lab
def test_without_a_prediction_its_reveal_refuses_and_no_truth_is_shown(staged, tmp_path, name):
    a, ref = LABS[name], reference(name)
    track = next(iter(offered_by(ref.pool)), None)
    names = [c.name for c in predictions(ref)]
    nb = solved(a, lambda c, text: "" if c["id"] in [f"write-{n}" for n in names] else text)
    record, done = grade_lab(a, staged(a), tmp_path, knows(ref, track)[:1] if track else (), nb)
    for n in names:
        cell = next(c for c in done["cells"] if f'reveal("{n}"' in c["source"])
        assert "lock your prediction first" in errors({"cells": [cell]})[0]
        assert "".join(o.get("text", "") for o in cell["outputs"]) == ""
        assert next(i["score"] for i in record["items"] if i["name"] == n) == 0


@of_each_lab
def test_an_edited_log_is_reported_and_its_predictions_earn_nothing(staged, tmp_path, name):
    a, ref = LABS[name], reference(name)
    track = next(iter(offered_by(ref.pool)), None)
    record, _ = grade_lab(a, staged(a), tmp_path, knows(ref, track), solved(a), lambda text: re.sub(r'"low": "[^"]+"', '"low": "0"', text))
    assert any(f["kind"] == "tamper" and "was edited" in f["note"] for f in record["flags"])
    assert {i["score"] for i in record["items"] if i["kind"] == "predict"} == {0.0}


def corners(ref, track):
    """Two variants of a track: those in which an answer is the least and the most. Tracks take turns with the answers."""
    mine = [v for v in ref.pool if v.get("track") == track] or [{}]
    asked = [c for c in ref.cells if c.kind == "answer"]
    values = [ref.key(asked[len(str(track)) % len(asked)].name, v).value for v in mine]
    return [mine[i] for i in sorted({int(np.argmin(values)), int(np.argmax(values))})]


@pytest.mark.slow
@on_each_track
def test_what_is_shown_is_what_the_keys_say_at_the_extremes_of_the_pool_and_every_control_matters(tmp_path, name, track):
    a, ref = LABS[name], reference(name)
    for n, v in enumerate(corners(ref, track)):
        out = run_plain(a, tmp_path / str(n), "ada", track, v or None)
        for c in predictions(ref):
            shown = re.search(rf"^{c.name}: you said .*?\]; it is (.+?)\. ", out, re.M)[1]
            assert units.parse(shown)[0] == approx(ref.key(c.name, v).value, rel=0.01)
        for c in (c for c in ref.cells if c.kind == "answer"):
            said = re.search(rf"^{c.name}: recorded '(.+?)'", out, re.M)[1]
            assert ref.key(c.name, v).grade(units.parse(said)[0])[0] == 1.0, (c.name, said, v)
        for c in (c for c in ref.cells if c.kind == "decision"):
            assert f"{c.name}: recorded; {ref.ruling(c.name, v).binding} binds" in out
        idle = ast.literal_eval(re.search(r"^IDLE (.+)$", out, re.M)[1])
        assert idle and not any(idle.values())


@of_each_lab
def test_every_mistake_has_its_own_number_in_every_variant_and_three_figures_are_enough(name):
    ref = reference(name)
    for c in (c for c in ref.cells if c.kind == "answer"):
        for v in ref.pool or [{}]:
            key = ref.key(c.name, v)
            assert key.grade(units.parse(units.format(key.value, key.unit), key.unit)[0]) == (1.0, None), (c.name, v)
            values = [key.value, *(m.value for m in key.mistakes)]
            assert all(abs(a - b) > key.tol * (abs(a) + abs(b)) for i, a in enumerate(values) for b in values[:i]), (c.name, v, values)


@on_each_track
def test_what_binds_differs_between_the_students_of_a_track(name, track):
    ref = reference(name)
    for c in (c for c in ref.cells if c.kind == "decision"):
        assert len({ref.ruling(c.name, v).binding for v in ref.pool if v.get("track") == track}) >= 2


@of_each_lab
def test_neither_a_constant_nor_a_memory_of_the_worked_examples_passes_a_core(name):
    ref = reference(name)
    for check, spec in ref.checks.items():
        drawn = ref.hidden_cases(check, np.random.default_rng(1))
        core = [c for c in drawn if c.behaviour == drawn[0].behaviour]
        wants = ref.outcomes(check, core)
        asked = [repr(encode([c.args, c.kwargs])) for c in (*spec.cases, *core)]
        assert not set(asked[:len(spec.cases)]) & set(asked[len(spec.cases):]), check
        assert all(any(want != other for want in wants) for other in (*wants, *ref.outcomes(check, spec.cases))), check


@of_each_lab
def test_every_figure_has_its_sentence_and_every_panel_says_what_it_shows(name):
    for c in reference(name).cells:
        for shown in (x for x in ("plt.show()", "plt.figure", "plt.subplots") if x in c.text):
            assert re.search(r'"(Figure|f"Figure)|f"Figure', c.text), (shown, c.line)
        for call in (n for n in ast.walk(ast.parse(c.code)) if isinstance(n, ast.Call)) if c.kind in ("given", "show") else ():
            if getattr(call.func, "id", "") == "explore":
                assert {"draw", "say"} <= {k.arg for k in call.keywords}, c.line


@of_each_lab
def test_a_reveal_stands_behind_its_lock(name):
    cells = ["".join(c["source"]) for c in json.loads(LABS[name].notebook_path.read_text())["cells"]]
    for c in predictions(reference(name)):
        at = next(i for i, text in enumerate(cells) if f'reveal("{c.name}"' in text)
        assert any(f'locked("{c.name}")' in text for text in cells[:at])
