"""The KV-cache drill: all variants of its pool against closed forms, and its notebook against its keys."""

import hashlib
import itertools
import json
import re
from types import SimpleNamespace

import pytest

from staffml import answer_key, bake, load, pool
from staffml.check import closed_form
from staffml.text import fields
from staffml.variants import given

NAME = "memory/kv_cache"
TEMPLATE = load(NAME)
POOL = pool(TEMPLATE, 200)


def by_hand(p):
    """Answers and misconceptions without MLSys·im."""
    return closed_form(NAME)(SimpleNamespace(**p))


@pytest.mark.parametrize("part", [part.name for part in TEMPLATE.parts])
def test_two_paths_to_every_number_agree(part):
    part = TEMPLATE.part(part)
    for p in POOL:
        right, wrong = by_hand(p)[part.name]
        assert part.value(p) == pytest.approx(right, rel=1e-12)
        assert part.mistakes(p) == pytest.approx(wrong, rel=1e-12)


def test_the_parameter_count_belongs_to_the_shape():
    for p in POOL:
        width, kv = p.heads * p.head_dim, p.kv_heads * p.head_dim
        attention = width * width + 2 * width * kv + width * width                 # query, key and value, output
        mlp = 3 * width * (7 * width // 2)                                         # gate, up, down
        assert abs(p.layers * (attention + mlp) - p.params) <= 0.05e9


def test_every_scenario_can_happen():
    for p in POOL:
        right = {name: value for name, (value, _) in by_hand(p).items()}
        assert p.batch <= right["fits"]
        assert p.params * p.bytes_per + right["cache"] <= p.memory
        assert right["step"] <= p.memory / p.bandwidth
        assert p.heads % p.kv_heads == 0 and p.kv_heads < p.heads


def test_answers_and_misconceptions_are_separable():
    for p in POOL:
        for part in TEMPLATE.parts:
            right, wrong = by_hand(p)[part.name]
            assert all(part.apart(a, b) for a, b in itertools.combinations([right, *wrong.values()], 2))


def test_three_digits_of_an_answer_are_enough():
    from mlsysim import units

    for p in POOL:
        for part in TEMPLATE.parts:
            value = part.value(p)
            read, unit = units.parse(units.format(value, part.unit))
            assert unit == part.unit and abs(read - value) <= part.tolerance / 4 * value


def test_every_number_in_a_prompt_is_a_parameter_and_every_input_is_there():
    scale = {"": 1, "B": 1, "GB": 1e9, "TB": 1e12, "billion": 1e9}
    for p, v in zip(POOL, bake(NAME, 200), strict=True):
        text = " ".join([v["prompt"], *(part["question"] for part in v["parts"].values())])
        numbers = {float(number.replace(",", "")) * scale[unit]
                   for number, unit in re.findall(r"([\d.,]*\d) ?((?:billion|[kMGT]?B\b)?)", text.replace(p.card, ""))}
        assert sorted(numbers) == pytest.approx(sorted({float(x) for x in p.values() if not isinstance(x, str)}))
    assert fields(TEMPLATE.prompt) == set(TEMPLATE.parameters) - {"gpu"}            # the card's name stands for it


def test_the_pool_is_the_one_that_classes_have_been_given():
    """Changing it changes every student's numbers: do so between terms, and say so in CHANGELOG.md."""
    found = hashlib.sha256(json.dumps([dict(p) for p in POOL], sort_keys=True).encode()).hexdigest()
    assert found == "496f529f089cbc2881f5aac95560638a8355b19b6b172459899b99d09a450665"


def test_variants_differ_from_each_other():
    assert len({str(sorted(p.items())) for p in POOL}) == len(POOL) == 200
    assert len({tuple(part.value(p) for part in TEMPLATE.parts) for p in POOL}) == 200


@pytest.fixture(scope="module")
def cells():
    from mlsysbook import catalogue
    from mlsysbook.build.source import read

    return read(catalogue.load().find("drills/kv_cache").author_source)


def test_the_model_solution_is_right_for_every_student(cells, monkeypatch):
    """The solution in the notebook is plain arithmetic; the keys come from MLSys·im. They must agree 200 times."""
    import mlsysbook
    from mlsysim import units

    code = "\n".join(cell.code for cell in cells if cell.kind in ("given", "answer"))
    run = compile(code, "kv_cache", "exec")
    for v in bake(NAME, 200):
        monkeypatch.setattr(mlsysbook, "variant", lambda v=v: v)
        names = {}
        exec(run, names)
        for part in v["parts"]:
            key = answer_key(part, v)
            assert key.grade(units.parse(str(names[part]), unit=key.unit)[0]) == (1.0, None)
        assert str(names["problem"]).startswith(v["prompt"][:60])
        assert given(TEMPLATE, v) == names["problem"].given


def test_the_released_cells_hold_no_solution_and_no_result_typed_in(cells):
    shown = [cell for cell in cells if cell.kind == "markdown"]
    results = [number for cell in shown for number in re.findall(r"\d[\d.,]* ?(?:[kMGT]i?B|ms|µs|s)\b", cell.text)]
    assert results == ["2.5 GB", "2500 MB"]             # how to write an answer
    assert not any("staffml" in cell.text and cell.kind == "given" and "answer_key" in cell.text for cell in cells)
