"""A template refuses what cannot be right; its texts print parameters exactly."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from staffml import Given, Misconception, Part, Template, TemplateError, load
from staffml.text import TextError, fields, render, show

TRANSFER = Template(
    title="Transfer", area="networking", topic="network-bandwidth-bottlenecks", track="cloud", level="L1", minutes=2,
    space={"size": tuple(i * 1e9 for i in range(1, 40)), ("link", "rate"): (("copper", 1e9), ("fibre", 5e9))},
    prompt="{size:B} cross one {link} link of {rate:B/s}.",
    parts=(Part("time", "How long does that take?", "s", lambda p: p.size / p.rate, ("1 ms", "1000 s"), (
        Misconception("both ways", lambda p: p.size / p.rate / 2, 0.5, "You counted both directions."),)),))


def changed(part=None, **fields):
    if part:
        fields["parts"] = (replace(TRANSFER.parts[0], **part),)
    return replace(TRANSFER, **fields)


@pytest.mark.parametrize("change, message", [
    ({"area": "network"}, "area 'network' is not one of .*did you mean networking"),
    ({"track": "clouds"}, "did you mean cloud"),
    ({"level": "L9"}, "level 'L9'"),
    ({"topic": "Tail Latency"}, "topic 'Tail Latency'"),
    ({"parts": ()}, "at least one part"),
    ({"parts": TRANSFER.parts * 2}, "different names"),
    ({"prompt": "Move {size:B} at 5 GB/s."}, "the prompt has the number 5 typed in"),
    ({"prompt": "Move {sizes:B}."}, "prints 'sizes', which is no parameter; did you mean size"),
    ({"prompt": "Move {size:GBs}."}, "the prompt prints 'size' in 'GBs': .*unknown unit"),
    ({"space": TRANSFER.space | {"hops": ()}}, "parameter hops has no choices"),
    ({"space": TRANSFER.space | {("a", "b"): ((1, 2, 3),)}}, "tuples of 2 values"),
    ({"space": TRANSFER.space | {"when": (None,)}}, "whole numbers, floats and text"),
    ({"space": TRANSFER.space | {"but": (1,)}}, "parameter 'but' needs another name"),
    ({"part": {"question": "How long at 2 GB/s?"}}, "question of part 'time' has the number 2"),
    ({"part": {"band": ("1 MB", "1 GB")}}, "answers in s, its band says '1 MB'"),
    ({"part": {"tol": 2}}, "tolerance 2"),
    ({"part": {"misconceptions": TRANSFER.parts[0].misconceptions * 2}}, "two misconceptions of one name"),
    ({"part": {"misconceptions": (Misconception("a", float, 1.0, "Why."),)}}, "earns 1.0"),
    ({"part": {"misconceptions": (Misconception("a", float, 0.5, "Off by 8."),)}}, "feedback of 'a' has the number 8"),
])
def test_a_template_that_cannot_be_right_is_refused_in_one_line(change, message):
    with pytest.raises(TemplateError, match=message) as caught:
        changed(**change)
    assert "\n" not in str(caught.value)


def test_but_changes_one_thing_in_a_copy():
    p = Given({"heads": 32, "kv_heads": 8})
    assert dict(p.but(kv_heads=p.heads)) == {"heads": 32, "kv_heads": 32}
    assert p.kv_heads == 8
    with pytest.raises(AttributeError, match="no parameter 'kv_head'; did you mean kv_heads"):
        p.but(kv_head=1)
    with pytest.raises(AttributeError, match="did you mean heads"):
        _ = p.head


def test_an_input_that_no_text_prints_is_found_in_answers_and_in_misconceptions():
    p = TRANSFER.given({"size": 2e9, "link": "fibre", "rate": 5e9})
    assert TRANSFER.unmentioned(p) == []
    assert changed(prompt="{size:B} cross one {link} link.").unmentioned(p) == [("time", "rate")]
    asked = changed(prompt="{size:B} cross a link.", part={"question": "How long at {rate:B/s}?"})
    assert asked.unmentioned(p) == []
    hidden = Misconception("by name", lambda p: len(p.link), 0.5, "Why.")
    silent = changed(prompt="{size:B} at {rate:B/s}.", part={"misconceptions": (hidden,)})
    assert silent.unmentioned(p) == [("time", "link")]
    changed_copy = Misconception("small", lambda p: p.but(size=1e9).size / p.but(size=1e9).rate, 0.5, "Why.")
    silent = changed(prompt="{size:B}.", part={"answer": lambda p: p.size, "misconceptions": (changed_copy,)})
    assert silent.unmentioned(p) == [("time", "rate")]


def test_derived_parameters_see_the_ones_before_and_are_baked():
    derive = {"double": lambda p: 2 * p.size, "quadruple": lambda p: 2 * p.double, "count": lambda p: np.int64(3)}
    template = changed(derive=derive)
    p = template.given({"size": 2e9, "link": "fibre", "rate": 5e9})
    assert (p.double, p.quadruple, p.count) == (4e9, 8e9, 3)
    assert json.loads(json.dumps(dict(p))) == p
    assert template.parameters == ("size", "link", "rate", "double", "quadruple", "count")


def test_whole_numbers_are_rounded_with_their_misconceptions_and_graded_exactly():
    part = replace(TRANSFER.parts[0], rounding=math.floor)
    p = Given({"size": 9e9, "rate": 2e9})
    assert (part.value(p), part.mistakes(p), part.tolerance) == (4.0, {"both ways": 2.0}, 0.0)


def test_text_flows_and_prints_units():
    p = Given({"n": 32768, "size": 80e9, "params": 7e9, "gpu": "A100"})
    text = """
        A {gpu} has {size:B}
        of memory.

        {params:billion} parameters, {n} tokens."""
    assert render(text, p) == "A A100 has 80 GB of memory.\n\n7 billion parameters, 32,768 tokens."
    assert fields(text) == {"gpu", "size", "params", "n"}


def test_a_value_that_would_lose_digits_in_print_is_refused():
    with pytest.raises(TextError, match="memory = 85899345920.0 prints as '85.8993 GB': use a rounder value"):
        show("memory", 80.0 * 2**30, "B")
    assert show("memory", 80.0 * 2**30, "GiB") == "80 GiB"
    with pytest.raises(TextError, match="share = 0.5 would be printed without a unit"):
        show("share", 0.5)


@each(digits=st.integers(1, 99_999), power=st.integers(0, 12))
def test_what_a_prompt_prints_reads_back_as_the_same_value(digits, power):
    from mlsysim import units

    value = float(digits * 10**power)
    assert units.parse(show("size", value, "B"))[0] == pytest.approx(value, rel=1e-9)


FILE = """
from staffml import Part, Template

template = Template(
    title="Swap", area="networking", topic="load-balancing", track="edge", level="L2", minutes=1, space={"n": (3, 4)},
    prompt="{n} pages.", parts=(Part("pages", "How many pages?", "", lambda p: p.n, ("1", "9")),))
"""


def test_a_template_is_found_by_where_it_lies(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "swap.py").write_text(FILE)
    (tmp_path / "memory" / "empty.py").touch()
    with pytest.raises(TemplateError, match="its area is networking, so it belongs in networking/"):
        load("memory/swap", tmp_path)
    with pytest.raises(TemplateError, match="no template 'memory/swop' in .*did you mean memory/swap"):
        load("memory/swop", tmp_path)
    with pytest.raises(TemplateError, match="empty.py: defines no `template`"):
        load("memory/empty", tmp_path)
    with pytest.raises(TemplateError, match="holds no templates"):
        load("memory/swap", tmp_path / "memory")
    (tmp_path / "networking").mkdir()
    (tmp_path / "memory" / "swap.py").rename(tmp_path / "networking" / "swap.py")
    assert load("networking/swap", tmp_path).name == "networking/swap"
