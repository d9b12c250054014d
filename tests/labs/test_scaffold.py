"""`mlsys new lab` writes a lab whose solution is right on each track, and whose every control matters."""

import pytest

from mlsysbook import catalogue
from mlsysbook.build import build
from mlsysbook.build.reference import load
from mlsysbook.build.scaffold import scaffold
from mlsysbook.labs.tracks import TRACKS
from tests.labs.lab import run_plain


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    root = tmp_path_factory.mktemp("new")
    (root / "modules").mkdir()
    (root / "course.yml").write_text("id: mine\ntitle: Mine\nassignments:\n  - {name: labs/a, points: 1}\n")
    scaffold(catalogue.load(root), "lab", "v1_14_drift", "Lab V1-14: Drift")
    course = catalogue.load(root)
    a = course.find("labs/v1_14_drift")
    build(course, [a])
    return course, a


@pytest.mark.parametrize("track", TRACKS)
def test_a_new_lab_runs_on_each_track(new, track, tmp_path):
    out = run_plain(new[1], tmp_path / "work", "ada", track)
    assert f"Your track: {track}." in out and "IDLE {'panel': []}" in out and "plan: recorded; service rate binds" in out
    assert "of it in line" in out and "mean_stay: 2 of 2" in out


def test_each_variant_of_a_new_lab_has_keys_apart_from_their_mistakes(new):
    ref = load(*new)
    assert len(ref.pool) == 40
    for v in ref.pool:
        for name in ("arrivals", "seconds", "waiting"):
            key = ref.key(name, v)
            assert key.grade(key.value) == (1.0, None)
            assert all(key.grade(m.value) == (m.credit, m.why) for m in key.mistakes)
