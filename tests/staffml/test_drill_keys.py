"""Keys: recomputed for one variant; misconceptions earn their part; a changed template is noticed."""

import pytest

from mlsysbook import Key
from staffml import TemplateError, answer_key, bake, load

NAME = "memory/kv_cache"


@pytest.fixture(scope="module")
def baked():
    return bake(NAME, 40)


def test_right_answers_earn_everything_and_misconceptions_their_part(baked):
    template = load(NAME)
    for v in baked:
        for part in template.parts:
            key = answer_key(part.name, v)
            assert isinstance(key, Key) and key.unit == part.unit
            assert key.grade(key.value) == (1.0, None)
            for mistake, misconception in zip(key.mistakes, part.misconceptions, strict=True):
                assert key.grade(mistake.value) == (misconception.credit, misconception.why)


def test_just_inside_the_tolerance_is_right_and_just_outside_is_not(baked):
    for v in baked:
        for part in load(NAME).parts:
            key = answer_key(part.name, v)
            inside, outside = (0.999, 1.001) if part.rounding is None else (0.0, 1e-9)
            for sign in (-1, 1):
                step = (part.tol if part.rounding is None else 1) * key.value * sign
                assert key.grade(key.value + inside * step)[0] == 1
                assert key.grade(key.value + outside * step)[0] < 1


def test_the_answer_of_another_variant_earns_nothing_in_full(baked):
    first, other = baked[:2]
    assert not all(answer_key(part, first).grade(answer_key(part, other).value)[0] == 1 for part in first["parts"])


def test_a_baked_variant_holds_no_answer_and_no_feedback(baked):
    for v in baked:
        assert set(v) == {"template", "given", "prompt", "parts"}
        assert set(v["given"]) == set(load(NAME).parameters)
        for part in load(NAME).parts:
            assert set(v["parts"][part.name]) == {"number", "question", "unit", "tolerance"}
            assert not any(m.why in str(v) for m in part.misconceptions)


def test_a_variant_from_another_version_of_the_template_is_refused(baked):
    old = {k: v for k, v in baked[0]["given"].items() if k != "bandwidth"}
    with pytest.raises(TemplateError, match="grade with the version that was released"):
        answer_key("step", baked[0] | {"given": old})
    with pytest.raises(TemplateError, match="memory/kv_cache has no part 'steps'; .*did you mean step"):
        answer_key("steps", baked[0])
