"""Mark schemes are those of the notebooks and the judge, and the sample answers for graders are marked right."""

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlsysbook import catalogue
from mlsysbook.build import reference, source
from mlsysbook.cli import app, class_, teach  # noqa: F401  (they register their commands)
from mlsysbook.errors import CourseError, SourceError
from mlsysbook.grading import judge
from mlsysbook.labs.decision import SHARES
from mlsysbook.teach import rubrics
from staffml.drillset import __file__ as drillset
from staffml.parts import Design
from staffml.template import load
from tinytorch.capstone import pareto

ROOT = Path(__file__).parents[2]
SETS = rubrics.calibration()


@pytest.fixture(scope="module")
def course():
    return catalogue.load(ROOT)


def scheme_of(course, group):
    where, _, name = group["scheme"].partition(" ")
    return rubrics.find(course, where, name)[0] if name else next(s for s in rubrics.challenges() if s.where == where)


def test_every_rubric_cell_is_a_scheme_whose_criteria_are_worth_its_points(course):
    found = rubrics.schemes(course)
    assert len(found) == sum('rubric="' in line for a in course.assignments for line in a.author_source.read_text().splitlines()
                             if line.startswith("# %%"))
    for s in found:
        assert s.question and all(text for _, text in s.criteria)
        assert sum(p for p, _ in s.criteria) == s.points or s.capped and "at most" in s.before


@pytest.mark.parametrize("name", ["labs/v1_13_tail_latency", "drills/serving", "kits/k01_motion"])
def test_a_scheme_has_the_words_of_the_cell_that_the_notebook_is_built_from(course, name):
    a = course.find(name)
    cells = [c for c in source.read(a.author_source) if c.kind == "rubric"]
    assert [(s.name, s.points) for s in rubrics.find(course, name)] == [(c.name, c.points) for c in cells]
    for s, cell in zip(rubrics.find(course, name), cells, strict=True):
        words = " ".join(cell.text.split())
        assert all(text in words for _, text in s.criteria) and " ".join(s.question.split()) in words


def test_drill_sets_and_their_scaffold_share_one_scheme(course):
    own = [rubrics.find(course, name)[0] for name in ("drills/training", "drills/serving", "drills/devices")]
    assert len({(s.question, s.criteria, s.after) for s in own}) == 1
    scaffold = " ".join(line.removeprefix("#").strip() for line in Path(drillset).read_text().splitlines())
    assert all(text in " ".join(scaffold.split()) for _, text in own[0].criteria)


def test_design_challenges_are_the_rubrics_of_the_templates():
    for s in rubrics.challenges():
        part = load(s.where).part(s.name)
        assert isinstance(part, Design) and [p for p, _ in s.criteria] == [p for p, _ in part.rubric]
        assert sum(p for p, _ in s.criteria) == pytest.approx(1) and "{" not in s.question + "".join(t for _, t in s.criteria)
    assert len(rubrics.challenges()) >= 8 and sum(SHARES) == 1


@pytest.mark.parametrize(("scheme", "said"), [("One point each:\n#\n# 1. A.\n", "worth 1 of 2"), ("Good answers.\n", "worth 0 of 2"),
                                              ("3 points: A.\n", "worth 3 of 2")])
def test_a_scheme_that_does_not_add_up_is_refused_with_its_line(tmp_path, scheme, said):
    path = tmp_path / "x.py"
    path.write_text(f'# one\n# %% [markdown] rubric="why" points=2\n# Why?\n#\n# ### BEGIN MARK SCHEME\n# {scheme}# ### END MARK SCHEME\n')
    with pytest.raises(SourceError, match=rf"x.py:2: .*{said}"):
        list(rubrics.read(path, "x"))


@pytest.mark.parametrize("group", [g for g in SETS if g["scheme"] != "decision"], ids=lambda g: g["scheme"])
def test_sample_answers_are_marked_by_the_scheme_and_say_why(course, group):
    scheme = scheme_of(course, group)
    totals = []
    for a in group["answers"]:
        assert len(a["points"]) == len(a["reasons"]) == len(scheme.criteria)
        for got, (worth, _) in zip(a["points"], scheme.criteria, strict=True):
            assert 0 <= got <= worth
        assert all(why.endswith(".") for why in a["reasons"])
        totals.append(sum(a["points"]))
    assert totals[0] == pytest.approx(scheme.points) and totals == sorted(totals, reverse=True) and totals[-1] < scheme.points / 2
    assert sum(len(g["answers"]) for g in SETS) >= 12


@pytest.mark.parametrize("group", [g for g in SETS if g["scheme"] != "decision"], ids=lambda g: g["scheme"])
def test_figures_in_sample_answers_are_computed(group):
    for a in group["answers"]:
        text = " ".join(a["text"].split())
        for said, (expression, tolerance) in a["figures"].items():
            assert said in text, said
            number = next(float(w.replace(",", "")) for w in said.split() if w[0].isdigit())
            assert math.isclose(number, eval(str(expression), {}), abs_tol=tolerance + 1e-9), (said, expression)
        if front := a.get("points_of_front"):
            found = [[b, f, 1 - acc] for b, f, acc in front["found"]]
            assert pareto(found) == front["front"]
            b, f, _ = front["found"][front["chosen"]]
            shares = {"bytes": b / front["budget"][0], "FLOP": f / front["budget"][1]}
            assert max(shares, key=shares.get) == front["binds"] and max(shares.values()) <= 1
            assert all(f"{n:,}" in text for b, f, _ in front["found"] for n in (b, f))


def test_the_judge_scores_the_sample_decisions_as_the_handbook_says(course):
    group = next(g for g in SETS if g["scheme"] == "decision")
    ref = reference.load(course, course.find(group["lab"]))
    gid = f"decision-{group['decision']}"
    earlier = [{"kind": "answer", "name": n, "points": 1.0, "score": float(n in group["right"])} for n in ref.answers]
    for a in group["answers"]:
        record = {"decided": group["decision"], "fields": a["decision"]}
        made = judge.judge_decision(ref, gid, ref.items[gid], record, None, "calibration", earlier, "", group["track"])
        assert made["score"] == a["score"], (a["decision"], made)


def test_the_command_lists_and_shows_schemes(course, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = lambda *words: CliRunner().invoke(app, ["rubric", *words])  # noqa: E731
    assert f"{len(rubrics.schemes(course))} rubrics" in run().stdout
    said = " ".join(run("labs/v1_13_tail_latency").stdout.split())
    assert "1 point Two numbers" in said.replace("**", "") and "Defend the decision" in said
    for name in ("labs/v1_99", "drills/kv_cache"):
        assert isinstance(run(name).exception, CourseError)
