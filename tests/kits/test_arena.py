"""Plans never overlap, reach the lower bound on chains, and are near the best that exhaustive search finds."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardkit.arena import ArenaError, Buffer, plan

sizes = st.integers(0, 60)
graphs = st.lists(st.tuples(sizes, st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=6).map(
    lambda rows: [Buffer(f"b{i}", size, first, first + life) for i, (size, first, life) in enumerate(rows)]
)


def best(buffers):
    """The smallest arena: some order in which each buffer takes the lowest place that is free is optimal."""
    least = None
    for order in permutations(buffers):
        offsets, top = {}, 0
        for b in order:
            at = 0
            for start, stop in sorted((offsets[o.name], offsets[o.name] + o.size) for o in order if o.name in offsets and o.meets(b)):
                if start - at >= b.size:
                    break
                at = max(at, stop)
            offsets[b.name] = at
            top = max(top, at + b.size)
        least = top if least is None else min(least, top)
    return least


def check(p, align=1):
    for i, a in enumerate(p.buffers):
        assert 0 <= p.offsets[a.name] <= p.size - a.size and p.offsets[a.name] % align == 0
        for b in p.buffers[i + 1 :]:
            apart = p.offsets[a.name] + a.size <= p.offsets[b.name] or p.offsets[b.name] + b.size <= p.offsets[a.name]
            assert apart or not a.meets(b) or 0 in (a.size, b.size)


@given(graphs, st.sampled_from([1, 4]))
@settings(max_examples=150)
def test_buffers_of_one_time_never_overlap(buffers, align):
    p = plan(buffers, align=align)
    check(p, align)
    assert p.size >= p.lower_bound


def test_greedy_finds_the_best_of_nearly_all_small_graphs(rng):
    ratios = []
    for _ in range(200):
        first, life, size = rng.integers(0, 6, 5), rng.integers(0, 4, 5), rng.integers(0, 61, 5)
        p = plan([Buffer(f"b{i}", int(s), int(f), int(f + n)) for i, (s, f, n) in enumerate(zip(size, first, life, strict=True))])
        least = p.size if p.size == p.lower_bound else best(p.buffers)
        assert p.lower_bound <= least <= p.size
        ratios.append(p.size / least if least else 1.0)
    assert sum(r == 1 for r in ratios) >= 190 and max(ratios) <= 1.6


@given(st.lists(sizes, min_size=1, max_size=9), st.sampled_from([1, 4]))
def test_chains_reach_the_lower_bound(chain, align):
    p = plan([Buffer(f"t{i}", size, max(i - 1, 0), i) for i, size in enumerate(chain)], align=align)
    check(p, align)
    assert p.method == "chain" and p.size == p.lower_bound
    if align == 1:
        assert p.size == max([a + b for a, b in zip(chain, chain[1:], strict=False)] or chain)


def test_a_plan_is_drawn_and_a_residual_is_no_chain():
    p = plan([Buffer("x", 64, 0, 3), Buffer("a", 32, 0, 1), Buffer("b", 32, 1, 2), Buffer("y", 64, 3, 3)])
    assert p.method == "greedy by size" and p.size == p.lower_bound == 128
    import matplotlib

    matplotlib.use("Agg")
    assert len(p.plot().patches) == 4
    text = str(p)
    assert text.splitlines()[0].startswith("x ") and "arena 128 B, lower bound 128 B, all apart 192 B" in text and len(text.splitlines()) == 5


@pytest.mark.parametrize(
    "buffers, options, says",
    [
        ([Buffer("a", 1, 0, 0), Buffer("a", 1, 0, 0)], {}, "names must differ"),
        ([Buffer("a", -1, 0, 0)], {}, "size of 0 or more"),
        ([Buffer("a", 1, 2, 1)], {}, "first <= last"),
        ([], {"align": 0}, "align: got 0"),
    ],
)
def test_bad_buffers_are_refused(buffers, options, says):
    with pytest.raises(ArenaError, match=says):
        plan(buffers, **options)
