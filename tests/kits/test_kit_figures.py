"""Figures that kits 03 to 05 print in their text or judge by, counted anew."""

from functools import cache

import numpy as np
import pytest
from pytest import approx

from boardkit.measure import measure
from boardkit.protocol import Link
from boardkit.targets import open_target
from boardkit.toolchain import compile_sketch
from mlsysbook import catalogue
from mlsysbook.build.source import read
from tests.kits.conftest import need

pytestmark = pytest.mark.slow  # compilers and emulators, again and again

pytest.importorskip("serial", reason="the kits' extra is not installed: pip install '.[kits]'")


@cache
def names(kit):
    """What the given cells and solutions of a kit define, all that come before the variants of a student."""
    found = {}
    for cell in read(next(a for a in catalogue.load().assignments if a.name == f"kits/{kit}").author_source):
        if cell.kind == "variants":
            return found
        if cell.kind in ("given", "solution"):
            exec(compile(cell.text, f"{kit}, line {cell.line}", "exec"), found)


def turns(text, vectors):
    """Cycles from question to answer of each vector on an Uno, and the outputs."""
    report = compile_sketch("serve", "simavr:atmega328p", files={"model.h": text})
    with open_target("simavr:atmega328p", firmware=report) as target:
        outputs = Link(target.serial).stream(vectors)[0]
    return outputs, np.array(target.counts().turns)[1:]  # the first turn asks who is there; the last is told when the line is closed


def test_keywords_take_the_instructions_that_the_kit_names():
    need("qemu:cortex-m4")
    kit = names("k03_keywords")
    model, counted = kit["student_model"](), kit["COUNTED"]
    assert (model.run(kit["xt"]).argmax(axis=1) == kit["test"].y).mean() > 0.9
    row = measure(model, kit["xt"][:4], "qemu:cortex-m4")
    assert row.exact and row.count == approx(counted["network"], rel=0.02)
    front = kit["FRONT"]
    report = compile_sketch("front", "qemu:cortex-m4", files={"front.h": front.header(kit["STEP"], kit["OFFSET"])})
    frames = front.frames(kit["test"].x[:3])[:, 12]
    with open_target("qemu:cortex-m4", firmware=report) as target:
        link, ticks = Link(target.serial), []
        for frame in frames:
            said = link.call("F", frame.astype("<i2").tobytes())
            assert said[:16] == front.features(front.bands_of(frame), kit["STEP"], kit["OFFSET"]).tobytes()
            ticks.append(target.count(int.from_bytes(said[16:], "big")))
    assert np.mean(ticks) == approx(counted["frame"], rel=0.02)


def test_a_plain_distance_is_over_the_budget_of_the_anomaly_kit():
    need("simavr:atmega328p")
    kit = names("k04_anomaly")
    *ruler, centres, limit = kit["detector"]()
    q = kit["to_bytes"](kit["testing"][:20], *ruler)
    outputs, cycles = turns(kit["model_h"](centres, limit, kit["PLAIN"]), q)
    assert cycles.min() > 65_000
    for said, x in zip(outputs, q, strict=True):
        np.testing.assert_array_equal(said, kit["answers_of"](centres, limit, x))


def test_a_product_of_32_bits_is_over_the_budget_of_the_six_targets():
    need("simavr:atmega328p")
    kit = names("k05_six_targets")
    narrow = "(int16_t)((int16_t)(in[i] - zero) * mlk_rom_i8(w))"
    assert narrow in kit["dense_c"]()
    kernel = kit["dense_c"]().replace(narrow, "(int32_t)(in[i] - zero) * (int32_t)mlk_rom_i8(w)")
    outputs, cycles = turns(kit["text_of"](kernel), kit["vectors"][:6])
    np.testing.assert_array_equal(outputs, kit["model"].run(kit["vectors"][:6]))
    assert len(cycles) == 6 and cycles.min() > 155_000


def test_a_kernel_from_a_desk_is_right_where_int_is_wide_and_wrong_on_avr():
    kit, exact = names("k05_six_targets"), {}
    for url in ("simavr:atmega328p", "qemu:cortex-m4", "qemu-user:aarch64"):
        need(url)
        exact[url] = measure(kit["model"], kit["vectors"][:4], url, text=kit["text_of"](kit["DESK"])).exact
    assert list(exact.values()) == [False, True, True]
    assert not measure(kit["model"], kit["vectors"][:4], "qemu:cortex-m4", text=kit["text_of"](kit["CHAR"])).exact
