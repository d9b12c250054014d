"""Pools: the same draws everywhere, vetted, distinct, and an error with reasons when there are too few."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume
from hypothesis import given as each
from hypothesis import strategies as st

from staffml import Fermi, Misconception, Part, PoolError, Template, TemplateError, mark, pool
from staffml.text import render
from staffml.variants import draw, flaw

ROOM = Template(
    title="Room", name="memory/room", area="memory", topic="vram-budgeting", track="edge", level="L1", minutes=1,
    space={"total": tuple(i * 1e9 for i in range(10, 90)), "item": tuple(i * 1e8 for i in range(1, 20)),
           "spare": (0, 1, 2)},
    prompt="{total:B} of memory, items of {item:B}, and {spare} more.",
    parts=(Part("left", "How much is left beside one item?", "B", lambda p: p.total - p.item, ("1 GB", "200 GB"), (
        Misconception("item only", lambda p: p.item, 0.5, "That is the item."),)),))


def with_part(**change):
    return replace(ROOM, parts=(replace(ROOM.parts[0], **change),))


def fingerprint(variants):
    return hashlib.sha256(json.dumps([dict(p) for p in variants], sort_keys=True).encode()).hexdigest()


def test_draws_are_the_same_on_every_machine_and_version():
    assert fingerprint(pool(ROOM, 50)) == "fc5fa787b66365676611ad06d2bf97585f451e9aa23427a470fba46bf53a2d00"


def test_a_longer_pool_starts_with_the_shorter_one():
    assert pool(ROOM, 60)[:20] == pool(ROOM, 20)


def test_a_new_parameter_leaves_the_draws_of_the_others_alone():
    wider = ROOM.space | {"noise": (1, 2, 3)}
    for i in range(20):
        assert draw("x", i, ROOM.space).items() <= draw("x", i, wider).items()


def test_draws_use_every_choice_about_equally_often():
    counts = {n: 0 for n in range(8)}
    for i in range(4000):
        counts[draw("x", i, {"n": tuple(counts)})["n"]] += 1
    chi2 = sum((c - 500) ** 2 / 500 for c in counts.values())
    assert chi2 < 24.3                  # 7 degrees of freedom, one in a thousand


def test_linked_parameters_are_drawn_together():
    pairs = (("a", 1), ("b", 2))
    assert {tuple(draw("x", i, {("name", "n"): pairs}).values()) for i in range(40)} == set(pairs)


def test_variants_differ_in_prompt_and_in_answers():
    kept = pool(ROOM, 200)
    assert len({p.total - p.item for p in kept}) == 200
    mute = replace(ROOM, prompt="{total:B}, {item:B}.")
    assert len({render(mute.prompt, p) for p in pool(mute, 200)}) == 200


def test_too_small_a_space_is_an_error_that_counts_the_reasons():
    tiny = replace(ROOM, space={"total": (10e9, 20e9), "item": (1e9, 12e9), "spare": (1,)})
    with pytest.raises(PoolError, match=r"room gives 3 of 9 variants from 4 of 4 combinations \(1 left not finite"):
        pool(tiny, 9)


def test_a_space_that_is_never_right_ends_in_an_error():
    with pytest.raises(PoolError, match="gives 0 of 5 variants from .* outside `where`"):
        pool(replace(ROOM, where=lambda p: False), 5)


def test_a_prompt_that_keeps_an_input_to_itself_stops_the_pool():
    with pytest.raises(TemplateError, match="memory/room: part 'left' reads 'item', which no text prints"):
        pool(replace(ROOM, prompt="{total:B}."), 5)


@pytest.mark.parametrize("change, reason", [
    ({"answer": lambda p: math.nan}, "left not finite and positive"),
    ({"answer": lambda p: -p.total}, "left not finite and positive"),
    ({"answer": lambda p: 5e12}, "left outside its band"),
    ({"misconceptions": (Misconception("bad", lambda p: math.inf, 0, "Why."),)}, "left not finite and positive"),
    ({"misconceptions": (Misconception("near", lambda p: 1.049 * (p.total - p.item), 0, "Why."),)},
     "left not separable: the answer and near"),
    ({"misconceptions": (Misconception("a", lambda p: 9e9, 0, "Why."), Misconception("b", lambda p: 9.1e9, 0, "Why."))},
     "left not separable: a and b"),
    ({"tol": 1e-4}, "left lost in printing"),
])
def test_each_flaw_is_named(change, reason):
    p = ROOM.given({"total": 50e9, "item": 1.234e9, "spare": 0})
    assert flaw(ROOM, p) is None
    assert flaw(with_part(**change), p) == reason


@pytest.mark.parametrize("off, credit, reason", [(50, 0.0, None), (8, 0.0, "left gives rough more than its credit"), (8, 0.25, None)])
def test_a_mistake_in_an_estimate_is_a_flaw_where_its_distance_alone_earns_more_than_it(off, credit, reason):
    part = Fermi("left", "How much, about?", "B", lambda p: p.total - p.item, ("1 GB", "200 GB"), (
        Misconception("rough", lambda p: (p.total - p.item) / off, credit, "Why."),))
    assert flaw(replace(ROOM, parts=(part,)), ROOM.given({"total": 50e9, "item": 1e9, "spare": 0})) == reason


@pytest.mark.parametrize("unit, band, text, half", [
    ("OP", ("1 GOP", "200 GOP"), "49 GOP", "24.5 GMAC"), ("OP/s", ("1 GOP/s", "200 GOP/s"), "49e9 OP/s", "24.5 GMAC/s"),
    ("bit/s", ("1 GB/s", "200 GB/s"), "392 Gbit/s", "49 GB/s"), ("h", ("1 s", "1e9 h"), "49e9 s", "13611111.11 h")])
def test_an_answer_is_asked_in_the_unit_that_is_natural(unit, band, text, half):
    template = with_part(unit=unit, band=band)
    p = template.given({"total": 50e9, "item": 1e9, "spare": 0})
    assert flaw(template, p) is None
    assert mark(template, p, "left", text).share == mark(template, p, "left", half).share == 1
    with pytest.raises(TemplateError, match=f"answers in {unit}, its band says '1 GB'"):
        with_part(unit=unit)


@pytest.mark.parametrize("count, reason", [(7.4, None), (7.002, "n too close to the next whole number"),
                                           (6.998, "n too close to the next whole number"), (300.5, "n too close")])
def test_a_whole_number_must_not_hang_on_a_rounding(count, reason):
    part = Part("n", "How many?", "", lambda p: count, ("1", "1000"), rounding=math.floor)
    found = flaw(replace(ROOM, parts=(part,)), ROOM.given({"total": 50e9, "item": 1e9, "spare": 0}))
    assert (found or "").startswith(reason or "") and (found is None) == (reason is None)


@each(st.floats(1e-9, 1e15), st.floats(0.5, 2), st.sampled_from([0.01, 0.02, 0.05]))
def test_no_answer_is_within_tolerance_of_two_separable_values(value, ratio, tol):
    other = value * ratio
    assume(Part("x", "How much?", "B", None, ("1 B", "2 B"), tol=tol).apart(value, other))
    assert value * (1 + tol) < other * (1 - tol) or other * (1 + tol) < value * (1 - tol)
