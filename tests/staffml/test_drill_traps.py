"""The eighteen ways in which drills under nbgrader are known to go wrong, each shut.

The numbers are those of the list in which they were collected; several are tested in depth elsewhere (tests/attacks,
tests/grading). Submissions here are the drill on the KV cache, run in the box and judged.
"""

import hashlib
import itertools
import json
import math
import os
import pwd
import re
import shutil
from types import SimpleNamespace

import nbformat
import pytest

from mlsysbook import atomic, catalogue
from mlsysbook.answers import identity
from mlsysbook.answers.answer import answer
from mlsysbook.box import library
from mlsysbook.build import reference
from mlsysbook.grading.submission import grade_submission, loaded, verdict_outputs
from staffml import answer_key, load
from staffml.parts import SEPARATION

COURSE = catalogue.load()
DRILL = COURSE.find("drills/kv_cache")
SETS = [a for a in COURSE.assignments if a.name.startswith("drills/") and a != DRILL]
SECRET = b"only the instructor knows these 32 b"


@pytest.fixture(scope="module")
def ref():
    return loaded(str(COURSE.root), DRILL.name)[1]


@pytest.fixture(scope="module")
def staged():
    folder = library.stage(COURSE, DRILL)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def submit(ref, staged, tmp_path):
    """submit(student, {answer: source line}, change=function of the notebook) -> (record, notebook)."""

    def submit(student, lines=None, change=None, roster=()):
        nb = nbformat.read(DRILL.notebook_path, as_version=4)
        right = {n: f"{n} = {ref.key(n, ref.variant(student)).value!r}" for n in ref.keys}
        right = {n: line if not ref.key(n, ref.variant(student)).unit else
                 f"{n} = '{ref.key(n, ref.variant(student)).value!r} {ref.key(n, ref.variant(student)).unit}'" for n, line in right.items()}
        for name, line in (right | (lines or {})).items():
            next(c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == f"write-{name}").source = line
        if change:
            change(nb)
        folder = tmp_path / student
        folder.mkdir(exist_ok=True)
        shutil.copy(DRILL.source_dir / "assignment.json", folder)
        nbformat.write(nb, folder / f"{DRILL.notebook}.ipynb")
        return grade_submission(str(COURSE.root), DRILL.name, student, folder, secret=SECRET, library=staged, roster=roster)

    return submit


def first(source):
    """A change that puts a cell of the student's own at the top."""
    return lambda nb: nb.cells.insert(0, nbformat.v4.new_code_cell(source, id="own"))


def scores(record):
    return {i["name"]: i["score"] for i in record["items"]}


FULL = {"cache": 4, "fits": 3, "step": 3}


def test_01_the_score_that_nbgrader_reads_is_a_plain_float_within_the_points(submit):
    from nbgrader.utils import determine_grade

    for score in (1.5, 0.0, math.nan, -1.0, 99.0, math.inf):
        from mlsysbook.grading import judge
        made = judge.item("answer-x", SimpleNamespace(points=4.0, kind="answer", name="x"), score, "note")
        cell = nbformat.v4.new_code_cell(outputs=verdict_outputs(made), metadata={
            "nbgrader": {"grade": True, "points": 4.0, "grade_id": "answer-x", "solution": False, "locked": True, "schema_version": 3}})
        grade, most = determine_grade(cell, None)
        assert most == 4 and type(grade) is float and 0 <= grade <= 4
        assert grade == (score if 0 <= score <= 4 else 4.0 if score == 99.0 else 0.0)
    record, nb = submit("ada", change=first("import sys, warnings; warnings.warn('old', DeprecationWarning); print('x', file=sys.stderr)"))
    assert scores(record) == FULL
    for c in nb["cells"]:
        if c["metadata"].get("nbgrader", {}).get("grade"):
            assert determine_grade(nbformat.from_dict(c), None)[0] == c["metadata"]["nbgrader"]["points"]


def test_02_the_student_is_who_the_grader_says_and_in_the_notebook_who_nbgrader_says(submit, monkeypatch, tmp_path):
    record, _ = submit("ada", change=first("import os; os.environ['MLSYS_STUDENT'] = 'ben'; os.environ['JUPYTERHUB_USER'] = 'ben'"))
    assert scores(record)["cache"] == 4                                     # judged on ada's variant
    monkeypatch.delenv("MLSYS_STUDENT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTERHUB_USER", "eve")
    assert identity.identity() == pwd.getpwuid(os.getuid()).pw_name.lower()
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="jovyan"))
    assert identity.identity() == "eve"
    monkeypatch.setenv("MLSYS_STUDENT", " Ada ")
    assert identity.identity() == "ada"


def test_03_a_number_of_another_variant_is_named_and_a_laptop_may_say_whose_it_is(submit, ref, monkeypatch, tmp_path):
    roster = ["ada", *(f"s{k}" for k in range(30))]
    other = next(s for s in roster[1:] if not {ref.key("cache", ref.variant("ada")).grade(ref.key("cache", ref.variant(s)).value)} - {(0.0, None)})
    record, _ = submit("ada", {"cache": f"cache = '{ref.key('cache', ref.variant(other)).value} B'"}, roster=roster)
    assert scores(record)["cache"] == 0
    assert any(f["kind"] == "copied-variant" and "cache" in f["note"] for f in record["flags"])
    monkeypatch.delenv("MLSYS_STUDENT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    identity.whoami_file().parent.mkdir(parents=True)
    identity.whoami_file().write_text("Ada\n")
    assert identity.identity() == "ada"


def test_04_what_a_notebook_does_to_the_libraries_changes_no_grade(submit):
    patch = ("import builtins, mlsysim.llm, mlsysim.units, staffml, mlsysbook\n"
             "mlsysim.llm.kv_cache_bytes = lambda **k: 1e9\nmlsysim.units.parse = lambda *a, **k: (1e9, 'B')\n"
             "staffml.answer_key = None\nbuiltins.float = lambda x: 4.0")
    record, _ = submit("ada", {"cache": "cache = '1 GB'"}, change=first(patch))
    assert scores(record)["cache"] == 0 and scores(record)["step"] in (0, 3)


def test_05_what_a_student_gets_back_holds_no_key(submit, ref):
    record, nb = submit("ada", {n: f"{n} = '7 {ref.keys and ref.key(n, ref.variant('ada')).unit}'" for n in ref.keys})
    text = json.dumps(nb) + json.dumps([i["note"] for i in record["items"]])
    for name in ref.keys:
        key = ref.key(name, ref.variant("ada"))
        assert f"{key.value:.4g}" not in text and f"{key.value / 1e9:.4g}" not in text
        assert all(m.why not in text for m in key.mistakes)
    assert "answer_key" not in text and "Misconception" not in text


def test_06_grading_happens_where_there_is_nothing_to_read(submit, tmp_path):
    probe = ("import os, pathlib, socket\nseen = []\n"
             f"for place in ({str(COURSE.root / 'modules')!r}, {str(COURSE.root / 'interviews')!r}, {str(tmp_path)!r}):\n"
             "    try: seen += os.listdir(place)\n    except OSError: pass\n"
             "found = [str(p) for p in pathlib.Path('.').resolve().parents for p in p.glob('gradebook*')]\n"
             "try: socket.create_connection(('127.0.0.1', 22), 1); found.append('network')\nexcept OSError: pass\n"
             "print('SEEN', seen, found)")
    record, nb = submit("ada", change=first(probe))
    shown = json.dumps([c.get("outputs") for c in nb["cells"]])
    assert "SEEN [] []" in shown and scores(record) == FULL


def test_07_recorded_never_sounds_like_right(monkeypatch, ref, capsys):
    monkeypatch.setenv("MLSYS_ASSIGNMENT", str(DRILL.source_dir))
    monkeypatch.setenv("MLSYS_STUDENT", "ada")
    said = []
    for value in (ref.key("cache", ref.variant("ada")).value, 7e9):
        answer("cache", f"{value / 1e9:.4g} GB")
        said.append(re.sub(r"[0-9.]+ GB", "N GB", capsys.readouterr().out))
    assert said[0] == said[1] and "recorded" in said[0]
    assert not re.search("right|correct|success|pass|wrong", said[0], re.I)


def test_08_an_honest_submission_has_no_flag_and_a_changed_locked_cell_has_one(submit):
    record, _ = submit("ada")
    assert record["flags"] == [] and scores(record) == FULL

    def edit(nb):
        cell = next(c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "answer-cache")
        cell.source = "4.0"

    record, _ = submit("ben", change=edit)
    assert [f["kind"] for f in record["flags"]] == ["tamper"] and scores(record) == FULL


def test_09_no_mistake_is_near_the_answer_or_another_in_any_variant_given_out():
    for a in (DRILL, *SETS):
        pool = json.loads((a.source_dir / "assignment.json").read_text())["variants"]
        for variant in itertools.chain.from_iterable([v] if "template" in v else v.values() for v in pool[::5]):
            template = load(variant["template"])
            for part in template.parts:
                if part.kind != "number":
                    continue
                key = answer_key(part.name, variant)
                values = [key.value, *(m.value for m in key.mistakes)]
                assert all(abs(x - y) > SEPARATION * key.tol * max(x, y) for x, y in itertools.combinations(values, 2)), variant["template"]


def test_10_a_variant_depends_on_names_alone(ref):
    picked = [identity.pick("mlsys", DRILL.id, s, 200) for s in ("ada", "ben", "eve")]
    assert picked == [identity.pick("mlsys", DRILL.id, s, 200) for s in (" Ada", "BEN\n", "eve")]
    for name, i in zip(("ada", "ben", "eve"), picked, strict=True):
        said = hashlib.sha256(f"mlsys\x1f{DRILL.id}\x1f{name}\x1f1".encode()).hexdigest()
        assert i == int(said[:16], 16) % 200
    assert len({identity.pick("mlsys", DRILL.id, f"s{k}", 200) for k in range(2000)}) == 200


def test_11_a_figure_that_changes_after_the_release_changes_no_grade(ref, monkeypatch, tmp_path):
    from mlsysim import bounds

    a = COURSE.find("drills/serving")
    author = tmp_path / "drills-serving.py"
    shutil.copy(a.author_source, author)
    before = reference.load(COURSE, a, pool=json.loads((a.source_dir / "assignment.json").read_text())["variants"])
    atomic.write_json(reference.keys_beside(author), before.snapshot())
    v = before.variant("ada")
    old = {n: before.key(n, v) for n in before.keys}
    ridge = bounds.ridge
    monkeypatch.setattr(bounds, "ridge", lambda *args, **more: ridge(*args, **more) * 1.5)
    assert before.key("roof_ridge", v).value == pytest.approx(old["roof_ridge"].value * 1.5)
    after = loaded(str(COURSE.root), a.name, a.source_dir, author)[1]
    assert {n: after.key(n, after.variant("ada")) for n in after.keys} == old


@pytest.mark.parametrize(("text", "share"), [
    ("{gb:.5g} GB", 1), ("{mb:,.0f} MB", 1), ("{b:e} B", 1), ("{gib:.5g} GiB", 1), ("{bit:.6g} bit", 1), ("{b:.0f}", 0), ("{gb} ", 0),
    ("{gb:.5g} Gb", 0), ("{gb:.5g} GB/s", 0), ("nan GB", 0), ("inf GB", 0), ("-{gb} GB", 0), ("about 12", 0), ("1e999 GB", 0)])
def test_12_units_and_ways_to_write_a_number(text, share, ref):
    from mlsysbook.grading.judge import judge_answer

    value = ref.key("cache", ref.variant("ada")).value
    text = text.format(b=value, gb=value / 1e9, mb=value / 1e6, gib=value / 2**30, bit=value * 8)
    made, _ = judge_answer(ref, "answer-cache", ref.items["answer-cache"], {"answer": "cache", "text": text}, None, "ada", [])
    assert made["score"] == 4 * share and made["note"]


def test_13_a_drill_asks_for_the_steps_and_not_for_one_number_alone():
    for a in (DRILL, *SETS):
        v = json.loads((a.source_dir / "assignment.json").read_text())["variants"][0]
        for variant in [v] if "template" in v else v.values():
            assert len(variant["parts"]) >= 2


def test_14_one_slip_costs_its_points_once():
    v = json.loads((COURSE.find("drills/serving").source_dir / "assignment.json").read_text())["variants"][0]["mm1"]
    load_, mean = (answer_key(part, v).value for part in ("load", "mean"))
    own = answer_key("mean", v, {"load": load_ * 0.7})
    assert own.steps == ("load",) and own.value != pytest.approx(mean, rel=0.1)
    assert answer_key("mean", v, {"mm1_load": load_ * 0.7}, prefix="mm1_").value == own.value


def test_15_time_input_and_widgets_play_no_part(submit):
    slow = "import time\ntime.sleep(1)\ntry:\n    input('?')\nexcept BaseException as error:\n    print(type(error).__name__)"
    record, _ = submit("ada", change=first(slow))
    assert scores(record) == FULL


def test_16_the_courseware_prints_nothing_to_stderr_while_it_grades(submit, capfd):
    capfd.readouterr()
    submit("ada")
    assert capfd.readouterr().err == ""


def test_17_a_graded_cell_that_is_gone_is_graded_all_the_same(submit):
    def drop(nb):
        nb.cells = [c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") not in ("answer-fits", "write-step")]

    record, nb = submit("ada", change=drop)
    assert scores(record) == FULL | {"step": 0} or scores(record) == FULL | {"step": 0, "fits": 3}
    ids = [c["metadata"].get("nbgrader", {}).get("grade_id") for c in nb["cells"]]
    assert {"answer-cache", "answer-fits", "answer-step"} <= set(ids) and record["max_score"] == 10


def test_18_free_text_waits_for_a_person_with_a_mark_scheme_that_no_release_holds(tmp_path):
    from nbgrader.preprocessors import ClearSolutions

    a = SETS[0]
    official = nbformat.read(a.notebook_path, as_version=4)
    released, _ = ClearSolutions().preprocess(nbformat.from_dict(json.loads(json.dumps(official))), {})
    cell = next(c for c in released.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "rubric-doubt")
    assert "names one number of this notebook" in json.dumps(official) and "names one number" not in json.dumps(released)
    assert "names one number" not in (a.source_dir / "assignment.json").read_text()
    for text, score in (("The step time, since a profile of one decode shows it.", None), (cell.source, 0.0)):
        cell.source = text
        nbformat.write(released, tmp_path / f"{a.notebook}.ipynb")
        staged = library.stage(COURSE, a)
        record, _ = grade_submission(str(COURSE.root), a.name, "ada", tmp_path, secret=SECRET, library=staged)
        shutil.rmtree(staged)
        assert next(i for i in record["items"] if i["kind"] == "rubric")["score"] == score
