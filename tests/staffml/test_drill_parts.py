"""Kinds of parts: what is refused, what a reader sees, what the grader's keys make of them."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from mlsysim import units
from staffml import (
    Cause,
    Choice,
    Design,
    Diagnosis,
    Fermi,
    Part,
    Table,
    Template,
    TemplateError,
    answer_key,
    bake,
    load,
    mark,
    pool,
)
from staffml.problem import Problem
from staffml.taxonomy import AREAS, CHAPTERS, LEVELS, TOPICS, TRACKS
from staffml.template import names
from staffml.variants import baked, flaw, given

STAGES = ("read", "work")


def trace(p):
    return Table((("stage", None), ("time", "s")), tuple((s, 0.1 * (p.slow if s == p.fault else 1)) for s in STAGES), tells=("fault", "slow"))


ILL = Template(
    title="Ill", name="data/ill", area="data", topic="data-pipeline-engineering", track="edge", level="L4", minutes=4,
    space={"fault": STAGES, "slow": (2.0, 3.0), "normal": (0.1,), "n": tuple(range(40))}, hidden=("fault", "slow"),
    table=trace, prompt="{n} times. Each stage should take {normal:s}.",
    parts=(Diagnosis("cause", "Which is slow?", "fault", (Cause("read", "Reading."), Cause("work", "Working.", 0.25, "It was {fault}.")),
                     lambda table, p: max(table.rows, key=lambda row: row[1] / p.normal)[0]),
           Design("plan", "What now?", ((0.5, "Mends {fault}."), (0.5, "Measures again."))),))


def changed(template, i, **fields):
    parts = list(template.parts)
    parts[i] = replace(parts[i], **fields)
    return replace(template, parts=tuple(parts))


@pytest.mark.parametrize("change, message", [
    (lambda: replace(ILL, hidden=("slow",)), "plants 'fault', which must be in hidden"),
    (lambda: replace(ILL, hidden=("fault", "slo")), "hidden parameter 'slo' is not one of .*did you mean slow"),
    (lambda: replace(ILL, table=None), "is a diagnosis, and the template has no table"),
    (lambda: replace(ILL, prompt="{fault}"), "the prompt prints 'fault', which is hidden"),
    (lambda: changed(ILL, 0, planted="cause"), "plants 'cause', which is not in the space"),
    (lambda: changed(ILL, 0, causes=(Cause("read", "Reading."),)), "plants read, work and offers read"),
    (lambda: changed(ILL, 1, rubric=((0.5, "Half."),)), "adds up to 0.5"),
    (lambda: changed(ILL, 1, rubric=((1.0, "In 3 days."),)), "has the number 3 typed in"),
    (lambda: replace(ILL, chapter="V1-17"), "chapter 'V1-17' is not one of 33 known ones; did you mean V"),
    (lambda: replace(ILL, topic="data-pipelines"), "did you mean data-pipeline-engineering"),
    (lambda: replace(ILL, topic="kv-cache-management"), "topic 'kv-cache-management' is not one of data-pipeline"),
    (lambda: replace(ILL, minutes=0), "minutes is 0"),
    (lambda: replace(ILL, parts=(Choice("c", "Which?", "s", lambda p: 1, ("1 s", "2 s")),)), "has 0 misconceptions; wants 2 to 5"),
    (lambda: replace(ILL, parts=(Fermi("f", "Roughly?", "s", lambda p: 1, ("1 s", "2 s"), within=20),)), "within=20, beyond=10"),
    (lambda: replace(ILL, parts=(Part("a", "A?", "s", lambda p, b: b, ("1 s", "2 s")),)), "takes 'b', and no part comes before it"),
    (lambda: replace(ILL, parts=(Part("alpha", "A?", "s", lambda p: 1, ("1 s", "2 s")), Part("b", "B?", "s", lambda p, alpa: 1, ("1 s", "2 s")))),
     "takes a value called 'alpa' is not one of alpha; did you mean alpha"),
])
def test_a_part_that_cannot_be_right_is_refused_in_one_line(change, message):
    with pytest.raises(TemplateError, match=message) as caught:
        change()
    assert "\n" not in str(caught.value)


def test_the_reader_never_sees_what_is_hidden_and_the_grader_finds_it_again():
    variants = [baked(ILL, i, p) for i, p in enumerate(pool(ILL, 4))]
    for v in variants:
        assert set(v["given"]) == {"normal", "n"} and "draw" in v
    v = bake("data/input_trace", 3)[0]
    template = load("data/input_trace")
    p = given(template, v)
    assert not {"fault", "slow"} & set(v["given"]) and p.fault in template.space["fault"]
    assert v["table"]["rows"] and json.loads(json.dumps(v)) == v
    with pytest.raises(TemplateError, match="gives other parameters now: grade with the version"):
        given(template, v | {"given": v["given"] | {"batch": 7}})


def test_a_table_that_does_not_show_its_cause_is_no_variant():
    p = ILL.given({"fault": "read", "slow": 2.0, "normal": 0.1, "n": 1})
    assert flaw(ILL, p) is None
    assert flaw(ILL, p.but(slow=0.5)) == "cause shows work, not read"
    assert flaw(ILL, p.but(slow=1.0004, fault="work")) == "cause shows read, not work"      # lost in the rounding of the print


def test_a_table_is_printed_as_text_and_as_markdown():
    problem = Problem(baked(ILL, 0, ILL.given({"fault": "read", "slow": 2.0, "normal": 0.1, "n": 1})))
    assert "stage    time\nread   200 ms\nwork   100 ms" in str(problem)
    assert "| stage | time |\n| --- | ---: |\n| read | 200 ms |" in problem._repr_markdown_()
    assert "1) Reading." in str(problem) and "the number of one choice" in str(problem) and "marked against a rubric" in str(problem)


@pytest.mark.parametrize("name", names())
def test_keys_for_the_gradebook_agree_with_practice(name):
    template = load(name)
    for v in bake(name, 4):
        p = given(template, v)
        answers = template.answers(p)
        for part in template.parts:
            if isinstance(part, Design):
                with pytest.raises(TemplateError, match="use a rubric cell"):
                    answer_key(part.name, v)
                continue
            key = answer_key(part.name, v)
            assert key.grade(key.value) == (1.0, None)
            if isinstance(part, Choice | Diagnosis):
                n = len(v["parts"][part.name]["choices"])
                assert sorted([key.value, *(m.value for m in key.mistakes)]) == list(range(1, n + 1))
                tries = range(1, n + 1)
            else:
                tries = [key.value * f for f in (1, 1.001, 1.3, 3, 7, 100)] + list(part.mistakes(p, answers).values())
            for value in tries:
                text = units.format(value, key.unit, digits=12)
                assert key.grade(value)[0] == pytest.approx(mark(template, p, part.name, text).share)


def test_a_key_can_carry_a_students_own_value():
    v = bake("power/duty_cycle", 1)[0]
    right = answer_key("power", v).value
    assert answer_key("power", v, earlier={"energy": 1.0}).value > 10 * right


def test_the_taxonomy_is_whole():
    assert (len(AREAS), sum(map(len, TOPICS.values())), len(LEVELS), len(TRACKS), len(CHAPTERS)) == (13, 87, 6, 5, 33)
    assert len({t for ts in TOPICS.values() for t in ts}) == 87


def test_templates_cover_every_area_track_level_and_kind():
    templates = [load(name) for name in names()]
    for field, known in (("area", AREAS), ("track", TRACKS), ("level", LEVELS)):
        assert {getattr(t, field) for t in templates} == set(known)
    kinds = Counter(kind for t in templates for kind in t.kinds)
    assert set(kinds) == {"number", "choice", "fermi", "diagnosis", "design", "chain"} and kinds["chain"] >= 5
