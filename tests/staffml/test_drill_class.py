"""A class of 200 through the judge of the courseware: each student has a variant of their own, and every kind of item."""

import random
from types import SimpleNamespace

import pytest

from mlsysbook.answers import identity
from mlsysbook.grading.judge import judge_answer
from mlsysim import units
from staffml import Choice, Design, Diagnosis, Part, answer_key, bake, load, mark
from staffml.parts import computed
from staffml.template import names
from staffml.variants import given

STUDENTS = [f"s{i:03}" for i in range(200)]
NAMES = ("memory/kv_cache", "data/input_trace", "compute/training_time", "power/duty_cycle", "networking/round_trip")


class Course:
    """What the judge needs of a reference: the pool, a student's variant, the key of an answer."""

    def __init__(self, name):
        self.pool = bake(name, 200)

    def variant(self, student, track=None):
        return self.pool[identity.pick("ml", "drill", student, len(self.pool))]

    def key(self, part, v, earlier=None):
        return answer_key(part, v, earlier)

    def answered_by(self, part, value):
        return [v for v in self.pool if self.key(part, v).grade(value)[0] == 1]


def judged(course, part, student, text, earlier=None):
    cell = SimpleNamespace(name=part.name, points=4.0, kind="answer")
    return judge_answer(course, part.name, cell, {"answer": part.name, "text": text}, None, student, STUDENTS, earlier)


def options(part, template, p):
    return part.options(p) if isinstance(part, Diagnosis) else part.options(p, template.answers(p))


@pytest.mark.parametrize("name", NAMES)
def test_every_student_is_judged_on_their_own_numbers(name):
    course, template, draw = Course(name), load(name), random.Random(7)
    variants = set()
    for student in STUDENTS:
        v = course.variant(student)
        p = given(template, v)
        variants.add(str(v))
        for part in template.parts:
            if isinstance(part, Design):
                continue
            if isinstance(part, Choice | Diagnosis):
                n = len(options(part, template, p))
                text = str(draw.randint(1, n))
            else:
                wrong = list(part.mistakes(p, template.answers(p)).values())
                value = draw.choice([template.answers(p)[part.name], *wrong])
                text = units.format(value, part.unit, digits=12)
            item, flags = judged(course, part, student, text)
            assert item["score"] == pytest.approx(4 * mark(template, p, part.name, text).share)
            assert flags == []
    assert len(variants) > 100


def test_most_copied_answers_are_traced_to_a_variant_and_often_to_its_owner():
    course, template = Course("memory/kv_cache"), load("memory/kv_cache")
    part, named, traced, tried = template.part("step"), 0, 0, 0
    for student, other in zip(STUDENTS[:60], STUDENTS[60:120], strict=True):
        mine, theirs = course.variant(student), course.variant(other)
        value = course.key(part.name, theirs).value
        if course.key(part.name, mine).grade(value) != (0.0, None):
            continue                                                        # the same variant, or a misconception of mine
        tried += 1
        item, flags = judged(course, part, student, f"{value!r} s")
        assert item["score"] == 0
        traced += bool(flags)
        named += any(other in flag["note"] for flag in flags)               # three at most are named
    assert tried > 40 and traced > 0.7 * tried and named > 0.4 * tried


@pytest.mark.parametrize("text", ["", "nan", "7", "x", "1 GB", "1e999"])
def test_what_is_no_choice_earns_nothing_and_never_raises(text):
    course, template = Course("networking/round_trip"), load("networking/round_trip")
    assert judged(course, template.part("trip"), STUDENTS[0], text)[0]["score"] == 0


def test_every_part_with_a_key_has_one_unit_over_the_whole_pool():
    for name in NAMES:
        course = Course(name)
        for part in load(name).parts:
            if computed(part) or isinstance(part, Diagnosis):
                assert len({course.key(part.name, v).unit for v in course.pool}) == 1


CHAINS = [name for name in names() if "chain" in load(name).kinds]


@pytest.mark.parametrize("name", CHAINS)
def test_a_step_is_judged_with_the_students_own_value_too(name):
    course, template = Course(name), load(name)
    v = course.variant(STUDENTS[0])
    p = given(template, v)
    answers = template.answers(p)
    carried = 0
    for part in template.parts:
        steps = [s for s in getattr(part, "steps", ()) if type(template.part(s)) is Part]
        if not steps or isinstance(part, Choice | Diagnosis | Design):
            continue
        for factor in (3, 4, 0.6):
            own = {s: answers[s] * factor for s in steps}
            try:
                follows = part.value(p, answers | own)
            except (ArithmeticError, ValueError):                           # that value makes no sense in this step
                continue
            if follows > 0 and answer_key(part.name, v).grade(follows) == (0.0, None):
                break
        else:
            continue
        text = units.format(follows, part.unit, digits=12)
        alone, _ = judged(course, part, STUDENTS[0], text)
        item, flags = judged(course, part, STUDENTS[0], text, own)
        assert item["score"] == 4 and alone["score"] < 4 and flags == []
        assert all(s in item["note"] for s in steps)
        nothing, _ = judged(course, part, STUDENTS[0], f"0 {part.unit}".strip(), dict.fromkeys(own, 0.0))
        assert nothing["score"] == 0                                        # 0 after 0 is no answer
        carried += 1
    assert carried
