"""Marks over every template: right, wrong, each misconception, other ways to write a value, text that is no answer, chains."""

import math
import time
from dataclasses import replace

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from mlsysim import units
from staffml import Choice, Design, Diagnosis, Fermi, Mark, Misconception, Part, Template, Unreadable, load, mark
from staffml.marking import read, read_interval
from staffml.parts import computed, interval_score
from staffml.pools import draws, variant
from staffml.slips import slip
from staffml.template import names

NAMES = names()
CHAIN = Template(
    title="Chain", name="memory/chain", area="memory", topic="vram-budgeting", track="edge", level="L2", minutes=3,
    space={"n": (10, 20, 30), "size": (1e9, 2e9), "rate": (5e9,)},
    prompt="{n} items of {size:B}, moved at {rate:B/s}.",
    parts=(Part("all", "How large are all?", "B", lambda p: p.n * p.size, ("1 GB", "1 TB"), (
               Misconception("one", lambda p: p.size, 0.25, "That is one item."),)),
           Part("time", "How long does it take?", "s", lambda p, all: all / p.rate, ("1 s", "1 h"), (
               Misconception("bits", lambda p, all: 8 * all / p.rate, 0.5, "The rate is in bytes."),)),
           Part("twice", "And there and back?", "s", lambda p, time: 2 * time, ("1 s", "1 h"))))
P = CHAIN.given({"n": 20, "size": 2e9, "rate": 5e9})


def variants(name, n):
    template = load(name)
    return template, [variant(template, i) for i in draws(name)["draws"][:n]]


def numbers(template):
    return [part for part in template.parts if computed(part) and not isinstance(part, Choice)]


def written(value, unit):
    return f"{value / units.parse(f'1 {unit}')[0]!r} {unit}".strip()


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_earn_everything_and_each_misconception_its_part(name):
    template, ps = variants(name, 12)
    for p in ps:
        answers = template.answers(p)
        for part in numbers(template):
            assert mark(template, p, part.name, written(answers[part.name], part.unit)).share == 1
            for m in part.misconceptions:
                found = mark(template, p, part.name, written(part.mistakes(p, answers)[m.name], part.unit))
                assert (found.mistake, found.share) == (m.name, m.credit) and found.why


@pytest.mark.parametrize("name", NAMES)
def test_of_the_choices_exactly_one_is_right_and_the_others_are_the_misconceptions(name):
    template, ps = variants(name, 12)
    for p in ps:
        for part in template.parts:
            if isinstance(part, Choice | Diagnosis):
                n = len(part.causes) if isinstance(part, Diagnosis) else 1 + len(part.misconceptions)
                marks = [mark(template, p, part.name, str(i)) for i in range(1, n + 1)]
                assert [m.share for m in marks].count(1.0) == 1
                known = {m.name for m in getattr(part, "causes", ()) or part.misconceptions}
                assert len({m.mistake for m in marks if m.share < 1} & known) == n - 1
                for text in ("0", str(n + 1), "x", "1.5", "²", "-1"):
                    with pytest.raises(Unreadable, match="write the number of a choice, from 1 to"):
                        mark(template, p, part.name, text)


def test_the_right_choice_is_not_always_at_the_same_place():
    for name in ("networking/round_trip", "compute/roofline", "deployment/token_cost"):
        template, ps = variants(name, 200)
        part = next(part for part in template.parts if isinstance(part, Choice))
        places = [[wrong for _, wrong in part.options(p, template.answers(p))].index(None) for p in ps]
        assert all(30 <= places.count(i) <= 70 for i in range(4)), places


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_in_other_units_is_the_same_answer(name):
    scales = {"B": ("GB", "MiB", "kB", "Gbit"), "s": ("ms", "min", "h"), "J": ("kJ", "Wh"), "W": ("mW",), "FLOP": ("GFLOP", "MMAC"),
              "g": ("kg", "t"), "%": ("%",), "FLOP/B": ("kFLOP/B",), "B/s": ("MB/s", "Mbit/s"), "USD": ("kUSD",), "": ("",),
              "FLOP/s": ("GFLOP/s", "MMAC/s"), "OP": ("GOP", "MMAC"), "OP/s": ("GOP/s",),
              "bit/s": ("MB/s", "Mbit/s"), "h": ("s", "days")}
    template, ps = variants(name, 3)
    for p in ps:
        answers = template.answers(p)
        for part in numbers(template):
            for unit in scales[part.unit]:
                text = units.format(answers[part.name], unit, digits=12)
                for same in (text, text.replace(" ", ""), f"  {text} "):
                    assert mark(template, p, part.name, same).share == 1, text


def test_gib_and_gb_are_told_apart_and_commas_and_exponents_are_read():
    template, p = CHAIN, P                                                  # 40 GB
    right = ("40 GB", "40,000 MB", "40,000,000,000 B", "4e10 B", "4E+10 byte", "40e9 B", "37.25 GiB", "320 Gbit", "40_000 MB", "0.04 TB")
    for text in right:
        assert mark(template, p, "all", text).share == 1, text
    for text in ("-40 GB", "0 B", "41 GB", "56 GB"):
        assert mark(template, p, "all", text) == Mark(0.0, value=read(template.part("all"), text)), text


@pytest.mark.parametrize("text, name, why", [
    ("40 GiB", "GiB and GB", "1.074 times too large: a GiB has 1024 MiB, a GB 1000 MB."), ("37.25 GB", "GiB and GB", "1.074 times too small"),
    ("320 GB", "bits and bytes", "8 times too large"), ("5 GB", "bits and bytes", "8 times too small: a byte has eight bits."),
    ("4 GB", "power of ten", "10 times too small: look at the prefixes."), ("40 TB", "power of ten", "1,000 times too large"),
    ("80 GB", "factor of two", "2 times too large"), ("20 GB", "factor of two", "2 times too small"),
])
def test_common_slips_are_named_and_earn_nothing(text, name, why):
    found = mark(CHAIN, P, "all", text)
    assert (found.share, found.mistake) == (0.0, name) and found.why.startswith(why)


def test_a_slip_never_stands_in_for_the_answer_or_a_misconception():
    assert mark(CHAIN, P, "all", "2 GB").mistake == "one"                   # a twentieth, and one item
    assert mark(CHAIN, P, "time", "480 s").mistake == "hours and seconds"
    assert mark(CHAIN, P, "all", "40 GB") == Mark(1.0, value=4e10)
    wide = Part("n", "How many?", "B", lambda p: 100.0, ("1 B", "1 kB"), tol=0.15)
    assert slip(wide, 107.4, 100.0) is None                                 # GiB and GB are alike at 15 %


@pytest.mark.parametrize("text", ["", "  ", None, "nan", "NaN GB", "inf", "-inf GB", "1e999 GB", "forty GB", "GB", "40", "40 s", "40 GBs",
                                  "4,0 GB", "40 GB or so", "1,00 GB", "__import__('os')", "40 GB" + " " * 300 + "x", "４０", "1 2 GB"])
def test_what_is_no_answer_is_refused_in_one_line_and_not_marked(text):
    with pytest.raises(Unreadable, match="^all: ") as caught:
        mark(CHAIN, P, "all", text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@each(st.text(max_size=40))
def test_any_text_is_marked_or_refused(text):
    try:
        found = mark(CHAIN, P, "all", text)
        assert 0 <= found.share <= 1 and math.isfinite(found.value)
    except Unreadable:
        pass


def test_a_later_step_is_judged_with_the_students_own_earlier_value():
    own = {"all": 2e9}                                                      # one item: wrong
    assert mark(CHAIN, P, "time", "0.4 s").share == 0
    carried = mark(CHAIN, P, "time", "0.4 s", earlier=own)
    assert (carried.share, carried.why, carried.carried) == (1.0, "Right with your own all of 2 GB.", own)
    assert mark(CHAIN, P, "time", "8 s", earlier=own) == Mark(1.0, value=8.0)       # right in itself
    wrong = mark(CHAIN, P, "time", "3.2 s", earlier=own)
    assert (wrong.share, wrong.mistake, wrong.why) == (0.5, "bits", "The rate is in bytes. Judged with your own all of 2 GB.")
    assert mark(CHAIN, P, "time", "5 s", earlier=own).share == 0
    assert mark(CHAIN, P, "twice", "0.8 s", earlier={"all": 2e9, "time": 0.4}).share == 1
    assert mark(CHAIN, P, "twice", "0.8 s", earlier={"all": 2e9}).share == 0        # the step before was passed


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("earlier", [{"all": 0.0}, {"all": -1e9}, {"all": 1e300}])
def test_an_absurd_earlier_value_never_raises(earlier):
    assert 0 <= mark(CHAIN, P, "time", "8.5 s", earlier=earlier).share <= 1
    for name in NAMES:
        template, (p,) = variants(name, 1)
        for part in numbers(template):
            mine = dict.fromkeys(part.steps, earlier["all"])
            assert 0 <= mark(template, p, part.name, written(12345.678, part.unit), earlier=mine).share <= 1


@pytest.mark.parametrize("name", [n for n in NAMES if "chain" in load(n).kinds])
def test_in_every_chain_one_slip_costs_one_step(name):
    template, ps = variants(name, 5)
    for p in ps:
        first, *rest = numbers(template)
        own = {first.name: 0.83 * template.answers(p)[first.name]}
        for part in rest:
            before = template.answers(p) | own
            own[part.name] = part.value(p, before)
            found = mark(template, p, part.name, written(own[part.name], part.unit), earlier=own)
            assert found.share == 1, part.name


@pytest.mark.parametrize("name", [n for n in NAMES if any(part.steps for part in numbers(load(n)))])
def test_a_named_mistake_carries_through_the_steps_after_it_or_is_refused(name):
    template, ps = variants(name, 4)
    for p in ps:
        answers = template.answers(p)
        for first in numbers(template):
            for mistaken in first.mistakes(p, answers).values():
                own = {first.name: mistaken}
                for part in numbers(template):
                    if not set(part.steps) & set(own):
                        continue
                    try:
                        value = part.value(p, answers | own)
                    except (ArithmeticError, ValueError):
                        value = math.nan
                    if value > 0 and math.isfinite(value):
                        assert mark(template, p, part.name, written(value, part.unit), earlier=own).share == 1, (first.name, part.name)
                        own[part.name] = value
                    else:
                        found = mark(template, p, part.name, written(answers[part.name] / 1234.5, part.unit), earlier=own)
                        assert (found.share, found.carried) == (0.0, {}), (first.name, part.name)


def test_a_mistake_that_leads_below_nothing_is_not_looked_for():
    rest = Part("rest", "How much is left?", "B", lambda p, all: 50e9 - all, ("1 GB", "1 TB"), (
        Misconception("twice", lambda p, all: 50e9 - 2 * all, 0.5, "Once is enough."),))
    template = replace(CHAIN, parts=(CHAIN.parts[0], rest))
    assert mark(template, P, "rest", "-30 GB") == Mark(0.0, value=-30e9)
    assert mark(template, P, "rest", "10 GB", earlier={"all": 20e9}).mistake == ""


def test_an_estimate_is_scored_by_factors():
    part = Fermi("t", "How long?", "s", lambda p: 100.0, ("1 s", "1 h"))
    for value, share in ((100, 1), (200, 1), (50, 1), (1000, 0), (10, 0), (2000, 0), (0, 0), (-100, 0)):
        assert part.score(value, 100) == pytest.approx(share, abs=1e-12)
    assert part.score(100 * math.sqrt(20), 100) == pytest.approx(0.5)               # half way between 2 and 10 on a log scale
    assert part.score(300, 100) == pytest.approx(part.score(100 / 3, 100))


def test_the_interval_score_is_the_published_one():
    assert interval_score(10, 100, 30) == pytest.approx(1 - 1 / 2)                  # one decade wide, holds it
    assert interval_score(29.9999, 30.0001, 30) == pytest.approx(1, abs=1e-5)
    miss = math.log10(30 / 25)
    assert interval_score(20, 25, 30) == pytest.approx(max(1 - (math.log10(25 / 20) + 20 * miss) / 2, 0))
    assert interval_score(1, 2, 1000) == 0


def test_an_honest_interval_does_best():
    """Of somebody who is mostly within a factor of 1.5: the 90 % interval scores better than narrower and wider ones."""
    from statistics import NormalDist

    quantiles = [10 ** (0.1 * NormalDist().inv_cdf((i + 0.5) / 4000)) for i in range(4000)]

    def mean(half):
        low, high = 10 ** -(0.1 * half), 10 ** (0.1 * half)
        return sum(interval_score(low, high, x) for x in quantiles) / len(quantiles)

    honest = NormalDist().inv_cdf(0.95)
    assert mean(honest) > max(mean(0.5 * honest), mean(0.75 * honest), mean(1.3 * honest), mean(2 * honest))


def test_an_estimate_with_an_interval_in_every_way():
    template, (p,) = variants("compute/training_time", 1)
    truth = template.answers(p)["time"]
    right, low, high = (written(x, "s") for x in (truth, truth / 2, 2 * truth))
    held = mark(template, p, "time", right, interval=f"{low} .. {high}")
    assert held.interval is True and held.share == pytest.approx(2 / 3 + (1 - math.log10(4) / 2) / 3)
    missed = mark(template, p, "time", right, interval=f"{written(3 * truth, 's')} .. {written(4 * truth, 's')}")
    assert missed.interval is False and missed.share == pytest.approx(2 / 3)
    assert mark(template, p, "time", right).share == 1 and mark(template, p, "time", right, interval=" ").interval is None
    for text in ("3 h", "3 h ..", "5 h .. 3 h", "-1 s .. 3 s", "1 GB .. 2 GB", "3 h - 5 h"):
        with pytest.raises(Unreadable):
            read_interval(template.part("time"), text)


def test_a_design_is_for_a_person_to_mark():
    template, (p,) = variants("deployment/capacity_plan", 1)
    part = next(part for part in template.parts if isinstance(part, Design))
    with pytest.raises(LookupError, match="a person marks it against its rubric"):
        mark(template, p, part.name, "more batch")


def test_ten_thousand_variants_are_graded_in_seconds():
    graded, start = 0, time.thread_time()
    pools = [(load(name), [variant(load(name), i) for i in draws(name)["draws"]]) for name in NAMES]
    while graded < 10_000:
        for template, ps in pools:
            for p in ps:
                answers = template.answers(p)
                for part in numbers(template):
                    value = answers[part.name] * (1, 17.3)[graded % 2]                  # a wrong one is looked through for slips as well
                    assert (mark(template, p, part.name, written(value, part.unit), answers=answers).share == 1) == (graded % 2 == 0)
                graded += 1
    assert time.thread_time() - start < 60              # an alarm: it takes seconds
