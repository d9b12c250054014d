"""What `staffml report` says of a class: parts, mistakes, item parameters, from graded records that the judge made."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from mlsysbook import atomic, catalogue
from mlsysbook.build import reference
from mlsysbook.grading import judge
from mlsysbook.grading.classroom import Classroom
from mlsysim import units
from staffml import calibration, cli, irt, load, solution
from staffml.calibration import asked, fit, read, responses, summarize, write
from staffml.template import TemplateError, names
from staffml.variants import given

pytestmark = pytest.mark.slow

COURSE = catalogue.load()
DRILLS = [a for a in COURSE.assignments if a.name.startswith("drills/")]


@pytest.fixture(scope="module")
def references():
    return {a.id: reference.load(COURSE, a, pool=json.loads((a.source_dir / "assignment.json").read_text())["variants"]) for a in DRILLS}


def handed_in(ref, a, student, ability, draw):
    """The graded record of a simulated student, who knows a part as the model says, and else falls for a mistake."""
    v, items = ref.variant(student), []
    where = asked(v)
    for gid, cell in ref.items.items():
        if cell.kind != "answer":
            items.append(judge.item(gid, cell, None, "graded by hand"))
            continue
        template, part = where[cell.name]
        one = v if "template" in v else v[cell.name.removesuffix("_" + part)]
        knows = draw.random() < irt.chance(ability, irt.from_level(load(template).level))
        key = ref.key(cell.name, v)
        text = solution(part, one) if knows or not key.mistakes else f"{key.mistakes[0].value!r} {key.unit}".strip()
        if not knows and not key.mistakes:
            text = ""
        made, _ = judge.judge_answer(ref, gid, cell, {"answer": cell.name, "text": text}, None, student, [])
        items.append(made)
    return judge.summary(ref, student, items, [], fate="graded", unsafe=False, seconds=1.0, ended="finished")


@pytest.fixture(scope="module")
def classroom(tmp_path_factory, references):
    made = Classroom.new(tmp_path_factory.mktemp("drills") / "class", course_id=COURSE.id, check_owner=False)
    draw = random.Random(3)
    for k in range(50):
        ability = draw.gauss(0.5, 1.2)
        for a in DRILLS if k < 34 else DRILLS[:1]:
            record = handed_in(references[a.id], a, f"s{k:02}", ability, draw)
            atomic.write_json(made.graded_path(a.id, f"s{k:02}"), record)
    return made


def test_every_answer_of_every_drill_is_a_part_of_a_template(references):
    for a in DRILLS:
        ref = references[a.id]
        for v in ref.pool[:3]:
            where = asked(v)
            assert set(where) == set(ref.keys)
            assert all(load(t).part(p) for t, p in where.values())


def test_a_set_of_templates_gives_every_student_their_own_mix(references):
    sets = [references[a.id].pool for a in DRILLS if "template" not in references[a.id].pool[0]]
    assert len(sets) >= 3
    for pool in sets:
        texts = [json.dumps(v, sort_keys=True) for v in pool]
        assert len(set(texts)) == len(pool)
        shorts = list(pool[0])
        pairs = [(json.dumps(v[shorts[0]]), json.dumps(v[shorts[1]])) for v in pool]
        assert len(set(pairs)) == len(pool)


def test_the_solution_of_a_part_is_right_in_every_drill(references):
    for a in DRILLS:
        ref = references[a.id]
        for student in ("ada", "ben"):
            record = handed_in(ref, a, student, 1e3, random.Random(0))
            assert all(i["score"] in (i["points"], None) for i in record["items"])


def test_the_number_of_the_right_choice_is_the_one_that_the_notebook_prints(references):
    seen = 0
    for a in DRILLS:
        ref = references[a.id]                                              # its variants as they lie beside the notebook
        for v in ref.pool:
            for name, (template, part) in asked(v).items():
                part, one = load(template).part(part), v if "template" in v else v[name.removesuffix("_" + part)]
                if part.kind == "choice":
                    printed = one["parts"][part.name]["choices"][int(ref.key(name, v).value) - 1]
                    assert printed == units.format(load(template).answers(given(load(template), one))[part.name], part.unit)
                    seen += 1
    assert seen > 1000


@pytest.mark.slow
def test_the_report_counts_what_the_judge_gave(classroom, references):
    found = responses(classroom, COURSE)
    report = summarize(found)
    assert report.students == 50
    records = [json.loads(p.read_text()) for p in sorted((classroom.root / ".mlsys" / "graded").glob("*/*.json"))]
    answered = [i for r in records for i in r["items"] if i["kind"] == "answer"]
    assert sum(p.n for p in report.parts) == len(answered) == len(found)
    assert sum(p.n * p.share for p in report.parts) == pytest.approx(sum(i["score"] / i["points"] for i in answered))
    assert sum(n for p in report.parts for _, n in p.mistakes) == sum(1 for i in answered if i["mistake"])
    ring = next(p for p in report.parts if p.template == "networking/ring_all_reduce")
    assert ring.n == 34 and ring.mistakes and 0 < ring.share < 1
    assert set(report.items) | set(report.few) == {p.template for p in report.parts}
    assert report.items and all(i.responses >= irt.ENOUGH for i in report.items.values())


def test_one_student_calibrates_nothing():
    few = summarize([("ada", "memory/kv_cache", "cache", 1.0, None), ("ada", "memory/kv_cache", "step", 0.5, "You read one request.")])
    assert few.few == {"memory/kv_cache": 1} and few.items == {} and [p.rest for p in few.parts] == [None, None]


def simulated(items, students, seed, middle=0.0, spread=1.3):
    rng = np.random.default_rng(seed)
    abilities = rng.normal(middle, spread, students)
    return {t: {f"s{k}": float(rng.random() < irt.chance(x, item)) for k, x in enumerate(abilities)} for t, item in items.items()}


def test_item_parameters_are_recovered():
    chosen = names()[:16]
    rng = np.random.default_rng(1)
    true = {t: irt.Item(float(np.exp(rng.normal(np.log(1.5), 0.3))), irt.from_level(load(t).level).difficulty + rng.normal(0, 0.8))
            for t in chosen}
    made = fit(simulated(true, 1500, 5, middle=0.7))
    error = np.array([made[t].difficulty - true[t].difficulty for t in chosen])
    stand_in = np.array([irt.from_level(load(t).level).difficulty - true[t].difficulty for t in chosen])
    slopes = np.array([(made[t].discrimination, true[t].discrimination) for t in chosen])
    assert np.sqrt(np.mean((error - error.mean())**2)) < 0.25 < np.sqrt(np.mean(stand_in**2)) and abs(error.mean()) < 0.4
    assert np.corrcoef(slopes.T)[0, 1] > 0.6
    assert all(i.responses == 1500 for i in made.values())


def test_a_strong_class_does_not_make_items_easy():
    chosen = names()[:16]
    true = {t: irt.from_level(load(t).level) for t in chosen}
    strong, weak = (fit(simulated(true, 400, 2, middle=m)) for m in (1.0, -1.0))
    gap = np.mean([strong[t].difficulty - weak[t].difficulty for t in chosen])
    assert abs(gap) < 0.7                                                   # of two levels between the classes


def test_few_answers_keep_the_stand_in_and_help_with_abilities():
    chosen = names()[:6]
    true = {t: irt.from_level(load(t).level) for t in chosen}
    shares = simulated(true, 40, 3)
    shares[chosen[0]] = dict(list(shares[chosen[0]].items())[:irt.ENOUGH - 1])
    assert set(fit(shares)) == set(chosen[1:])
    assert fit({chosen[0]: shares[chosen[0]]}) == {}


def test_all_right_and_all_wrong_stay_finite():
    chosen = names()[:2]
    made = fit({chosen[0]: {f"s{k}": 1.0 for k in range(50)}, chosen[1]: {f"s{k}": 0.0 for k in range(50)}})
    assert all(abs(i.difficulty) < 10 and 0.2 < i.discrimination < 5 for i in made.values())
    assert made[chosen[0]].difficulty < made[chosen[1]].difficulty


def test_items_are_kept_and_read_back(tmp_path):
    path = tmp_path / "items.json"
    items = {"memory/kv_cache": irt.Item(1.25, -0.5, 31), "gone/away": irt.Item(1.0, 0.0, 40)}
    write(items, path)
    assert read(path) == {"memory/kv_cache": items["memory/kv_cache"]} and read(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "staffml-items", "version": 2, "items": {}}',
                                  '{"format": "staffml-items", "version": 1, "items": {"a": {"discrimination": 1}}}',
                                  '{"format": "staffml-items", "version": 1, "items": '
                                  '{"a": {"discrimination": NaN, "difficulty": 0, "responses": 1}}}'])
def test_an_items_file_that_is_none_is_one_line(text, tmp_path):
    path = tmp_path / "items.json"
    path.write_text(text)
    with pytest.raises(TemplateError, match="items.json") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_command(classroom, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "ITEMS", tmp_path / "items.json")
    monkeypatch.setattr(calibration.write, "__defaults__", (tmp_path / "items.json",))
    run = CliRunner().invoke(cli.app, ["report", str(classroom.root), "--save"])
    assert run.exit_code == 0, run.output
    assert "networking/ring_all_reduce" in run.output and "50 students" in run.output and "re-estimated" in run.output
    assert read(tmp_path / "items.json")
    data = json.loads(CliRunner().invoke(cli.app, ["report", str(classroom.root), "--json"]).output)
    assert data["students"] == 50 and data["items"]


def test_a_class_without_drills_is_one_line(tmp_path):
    empty = Classroom.new(tmp_path / "class", course_id=COURSE.id, check_owner=False)
    with pytest.raises(TemplateError, match="no graded drills"):
        responses(empty, COURSE)
    with pytest.raises(TemplateError, match="no graded drills"):
        responses(empty, SimpleNamespace(assignments=[]))
