"""Kits 00 to 02: every wrong solution loses points, figures that are typed are counted again, and no tool is no obstacle.

tests/mutants grades the reference and the notebook as released through the real pipeline, as it does for all assignments.
"""

import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from boardkit import compile_sketch, measure, open_target
from boardkit.elf import memory, sections
from boardkit.notebook import attempt, chosen
from mlsysbook import catalogue
from mlsysbook.answers import mode
from mlsysbook.answers.check import Case, run_case
from mlsysbook.build import reference
from mlsysbook.build.source import read
from mlsysbook.grading.judge import judge_check
from tests.kits.conftest import need
from tests.mutants.mutants import mutants

pytestmark = pytest.mark.slow  # compilers and emulators, again and again

pytest.importorskip("serial", reason="the kits' extra is not installed: pip install '.[kits]'")
COURSE = catalogue.load()
FOLDER = Path(__file__).parent / "mutants"
KITS = {a.notebook: a for a in COURSE.assignments if a.notebook in ("k00_toolchain", "k01_motion", "k02_dsp")}
DECISION = {"k00_toolchain": "logger", "k01_motion": "box", "k02_dsp": "front"}
UNO, M4 = "simavr:atmega328p", "qemu:cortex-m4"
# Shown by another compiler as well, which takes a tenth of the time. An int of 16 bits, and cycles, are the Uno's alone.
ON_ARM = ("lit for a millisecond too long", "the lamp never stops", "C: nothing saturates", "C: the turned number is cut to 16 bits",
          "C: the square of the mantissa is signed")
SLOW = "32 bits, which is right and slow"
each_kit = pytest.mark.parametrize("kit", KITS)


@cache
def loaded(kit):
    return reference.load(COURSE, KITS[kit])


@cache
def names(kit):
    """What the cells of a reference define, under the names that students see."""
    ns = {"__name__": "__main__"}
    with reference.quiet(reference._Collector(loaded(kit))), reference.apart(loaded(kit).modules):
        for cell in read(KITS[kit].author_source):
            if cell.kind in ("given", "solution", "check", "key", "variants"):
                exec(cell.code, ns)
    return ns


def graded(kit, check, changed=None, target=None, sources=None):
    """The item of a check, with the cell of one solution changed (a Mutant). sources: of cells, by id, for what an exercise forbids."""
    ref, a = loaded(kit), KITS[kit]
    cell = ref.cell("check", check)
    spec = ref.checks[check]
    if target:
        spec = replace(spec, firmware=replace(spec.firmware, target=target, flash=None, ram=None, cycles=None))
    hidden = ref.hidden_cases(check, np.random.default_rng(5))
    ns, own = names(kit), {c.name: c.code for c in ref.cells if c.kind == "solution"}
    listens = reference._Collector(reference.Reference(a, ref.cells, pool=ref.pool))
    with reference.quiet(listens), reference.apart(ref.modules):
        if changed:
            exec(compile(changed.source, "changed", "exec"), ns)
        exec(cell.code, ns)
        call = listens.reference.checks[check].call
        cases = [Case((), {})] if spec.firmware else [*spec.cases, *hidden]
        record = {"check": check, "results": [run_case(call, c) for c in cases]}
        if changed:
            exec(own[changed.solution], ns)         # whoever comes next finds what is right
    ref.checks[check], kept = spec, ref.checks[check]
    try:
        return judge_check(ref, f"check-{check}", cell, record, "", hidden, sources or {}, boxed=False)
    finally:
        ref.checks[check] = kept


@each_kit
def test_every_wrong_solution_loses_points_on_the_check_that_it_names(kit):
    found = mutants(KITS[kit], FOLDER / f"{kit}.toml")
    firmware = {name for name, spec in loaded(kit).checks.items() if spec.firmware}
    assert firmware <= {m.check for m in found} and len(found) >= 12
    need(UNO)
    need(M4)
    kept = []
    for m in found:
        if m.name == SLOW:
            continue                    # the next test has it
        item = graded(kit, m.check, m, M4 if m.name in ON_ARM else None)
        if item["score"] == item["points"]:
            kept.append(m.name)
    assert kept == []


def test_a_right_kernel_that_is_slow_keeps_two_thirds():
    need(UNO)
    slow = next(m for m in mutants(KITS["k01_motion"], FOLDER / "k01_motion.toml") if m.name == SLOW)
    item = graded("k01_motion", "kernel", slow)
    assert item["score"] == pytest.approx(2 / 3 * item["points"], abs=0.01)
    assert [b for b, ok in item["behaviours"].items() if not ok] == ["at most 97,900 cycles an answer"]


def test_the_typed_figures_of_kit_00_are_what_is_counted():
    need(UNO)
    ref, ns = loaded("k00_toolchain"), names("k00_toolchain")
    plain, stays = (compile_sketch("blink", UNO, files={"led.h": ns["with_table"](place)}) for place in ("", "MLK_ROM"))
    assert plain.ram - stays.ram == ref.key("table", {}).value
    echo = compile_sketch("echo", UNO)
    with open_target(UNO, firmware=echo) as line:
        line.serial.write(b"x" * 39 + b"\n")
        line.serial.readline()
    assert line.counts().turns[0] / 16e6 == pytest.approx(ref.key("turn", {}).value, rel=0.01)
    size = memory(echo.elf)
    assert ns["memory_of"](sections(echo.elf)) == (size.flash, size.ram)


def test_the_typed_figures_of_kit_01_are_what_is_counted():
    need(UNO)
    ns = names("k01_motion")
    model, x = ns["build"](), ns["INPUT"].quantize(ns["x_test"][:24])
    run = measure.measure(model, x, UNO)
    assert run.exact and np.array_equal(run.outputs, ns["integers"](model, x))
    counted = {"cycles": run.count, "flash": run.report.flash, "ram": run.report.ram}
    assert ns["SIMULATED"] == pytest.approx(counted, rel=0.01)
    right = (ns["integers"](model, ns["INPUT"].quantize(ns["x_test"])).argmax(axis=1) == ns["test"].y).mean()
    assert right > 0.95


def test_the_typed_figure_of_kit_02_is_what_is_counted():
    need(UNO)
    ns = names("k02_dsp")
    count, kind, _ = ns["library_frame"]()
    assert kind == "simulated cycles" and {"cycles": count} == pytest.approx(ns["SIMULATED"], rel=0.01)


def test_the_fixed_point_transform_of_kit_02_is_the_librarys():
    from boardkit import dsp

    ns, rng = names("k02_dsp"), np.random.default_rng(2)
    for most in (3, 300, 32767):
        x = rng.integers(-most - 1, most + 1, 64).astype(np.int16)
        for ours, theirs in zip(ns["fft_q15"](x), dsp.fft(x, np.zeros(64, np.int16)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for x in (0, 1, 3, 77, 2**20 - 1, 2**32 - 1):
        assert ns["log2_q8"](x) == dsp.log2(x)


@pytest.mark.parametrize(("kit", "name", "source", "uses"), [
    ("k01_motion", "scale_of", "import boardkit.quantize as q\ndef scale_of(low, high):\n    s = q.scale_of(low, high)\n    return s.scale, s.zero",
     "boardkit.quantize.scale_of"),
    ("k01_motion", "quantise", "def quantise(real, scale, zero):\n    return Scale(scale, zero).quantize(real)",
     "boardkit.quantize.Scale"),
    ("k01_motion", "multiplier_of", "from boardkit.quantize import quantize_multiplier as multiplier_of", "boardkit.quantize.quantize_multiplier"),
    ("k02_dsp", "mul_q15", "from boardkit.dsp import multiply_q15\ndef mul_q15(a, b):\n    return multiply_q15(a, b).astype('int16')",
     "boardkit.dsp.multiply_q15"),
    ("k02_dsp", "log2_q8", "def log2_q8(x):\n    from boardkit import dsp\n    return int(dsp.log2(x))", "boardkit.dsp.log2"),
])
def test_what_the_library_has_is_not_to_be_borrowed(kit, name, source, uses):
    assert graded(kit, name, sources={f"solution-{name}": source})["note"] == f"uses {uses}, which this exercise does without"


HEAD = "static uint8_t led_at(uint32_t t, uint16_t on, uint16_t off, uint8_t times)\n{{ (void)on, (void)off, (void)times; {} }}\n"
BROKEN = {
    "syntax": HEAD.format("uint32_t n = t return n;"), "no name": HEAD.format("return perod;"),
    "no file": '#include "pattern.h"\n' + HEAD.format("return 0;"), "no function": "uint8_t pattern(uint32_t);\n" + HEAD.format("return pattern(t);"),
    "no room": "static volatile uint8_t table[4000];\n" + HEAD.format("return table[t];"), "other": HEAD.format("return 1 = t;"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_the_compilers_say_is_read_as_it_is_meant(kind):
    first_fault = names("k00_toolchain")["first_fault"]
    for url in (UNO, M4) if kind != "no room" else (UNO,):
        need(url)
        report = compile_sketch("blink", url, files={"led.h": BROKEN[kind]}, check=False)
        fault = first_fault([(d.severity, d.message, d.file, d.line) for d in report.diagnostics])
        assert not report.ok and fault[0] == kind and (fault[1] == "led.h" or kind in ("no function", "no room")), report.diagnostics


@each_kit
def test_each_limit_binds_for_some_and_each_mistake_has_its_own_number(kit):
    ref = loaded(kit)
    bound = Counter(ref.ruling(DECISION[kit], v).binding for v in ref.pool)
    assert set(bound) == set(ref.options(DECISION[kit])) and min(bound.values()) >= 4
    for v in ref.pool:
        for name in ref.answers:
            key = ref.key(name, v)
            values = sorted([key.value, *(m.value for m in key.mistakes)])
            assert all(b - a > 2 * key.tol * a for a, b in zip(values, values[1:], strict=False)), f"{name} of {v}: {values}"


@each_kit
def test_without_compilers_a_notebook_says_what_is_missing_and_goes_on(kit, capsys, monkeypatch, tmp_path):
    ref = loaded(kit)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ARDUINO_CLI", raising=False)
    monkeypatch.setattr(mode, "handler", reference._Collector(ref))
    with reference.apart(ref.modules):
        ns = {"__name__": "__main__"}
        for cell in ref.cells:
            if cell.kind in ("given", "show", "solution", "answer", "predict"):
                exec(cell.code, ns)
    said = re.findall(r"not run here: .*", capsys.readouterr().out)
    assert said and all("install" in line for line in said), said


def test_a_cell_whose_c_does_not_compile_says_where_and_goes_on(capsys):
    need(M4)
    assert attempt(compile_sketch, "blink", M4, files={"led.h": BROKEN["no name"]}) is None
    assert re.search(r"^  led\.h:2:\d+: error: 'perod' undeclared", capsys.readouterr().out, re.M)


def test_the_target_is_chosen_outside_and_nothing_runs_where_work_is_graded(monkeypatch):
    monkeypatch.delenv("KITS_TARGET", raising=False)
    monkeypatch.delenv("KITS_BOARD", raising=False)
    assert chosen() == (UNO, UNO) and chosen(M4) == (M4, M4)
    monkeypatch.setenv("KITS_TARGET", "/dev/ttyACM0")
    monkeypatch.setenv("KITS_BOARD", "uno")
    assert chosen() == ("/dev/ttyACM0", "uno")
    called = []
    monkeypatch.setenv("MLSYS_BOX", "1")
    assert attempt(called.append, 1) is None and called == []
