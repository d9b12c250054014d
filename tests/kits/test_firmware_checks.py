"""A firmware check through `grade_submission`: the reference has all points, an empty notebook none, and no attack earns any."""

import concurrent.futures
import json
import re
import shutil
from pathlib import Path

import pytest

from boardkit import errors, toolchain
from mlsysbook import Firmware, catalogue
from mlsysbook.answers import firmware
from mlsysbook.answers.check import CheckFailed
from mlsysbook.box import library
from mlsysbook.build import build
from mlsysbook.build.reference import load
from mlsysbook.build.student import student_copy
from mlsysbook.errors import SourceError
from mlsysbook.grading import submission
from tests.kits.conftest import need

pytestmark = pytest.mark.slow  # compilers and emulators, again and again

COURSE = Path(__file__).parent / "course"
REGION = re.compile(r"[ ]*### (BEGIN|END) SOLUTION\n?")
UNO, M4 = "simavr:atmega328p", "qemu:cortex-m4"
BODY = 'return """\n    for (uint8_t o'


def made_for(root, target):
    """The course's copy in `root`, its assignment for this target, built."""
    shutil.copytree(COURSE, root)
    if target != UNO:
        source = root / "modules" / "kits" / "t_firmware" / "t_firmware.py"
        source.write_text(source.read_text().replace(UNO, target).replace(", cycles=60_000", ""))
    course = catalogue.load(root)
    build(course, course.assignments)
    return course


@pytest.fixture(scope="module")
def courses(tmp_path_factory):
    """By target: (course, assignment, staged library)."""
    made = {}
    for target in (UNO, M4):
        course = made_for(tmp_path_factory.mktemp("kits") / "course", target)
        made[target] = course, course.assignments[0], library.stage(course, course.assignments[0])
    yield made
    for _, _, folder in made.values():
        shutil.rmtree(folder)


@pytest.fixture
def grade(courses, tmp_path):
    """grade(target, change): (item, record) of a submission; change(text of a solved cell) -> text, None for an empty notebook."""
    def run(target=UNO, change=lambda text: text, student="ada"):
        need(target)
        course, a, staged = courses[target]
        folder = tmp_path / student
        write(a, folder, change)
        record, _ = submission.grade_submission(str(course.root), a.name, student, folder, secret=b"s" * 32, library=staged)
        return record["items"][0], record

    return run


def write(a, folder, change):
    shutil.rmtree(folder, ignore_errors=True)
    path = student_copy(a, folder)
    if change is None:
        return
    nb = json.loads(a.notebook_path.read_text())
    for c in nb["cells"]:
        locked = c["metadata"].get("nbgrader", {}).get("locked")
        text = REGION.sub("", "".join(c["source"]))
        c["source"] = text if locked else change(text)
    path.write_text(json.dumps(nb))


def body(c):
    """A change that puts this C in place of what computes."""
    return lambda text: re.sub(r'return """.*?"""', lambda _: f"return {c!r}", text, flags=re.S) if "body_text" in text else text


def test_the_reference_has_all_points(grade):
    item, record = grade()
    assert item["score"] == 8 and record["flags"] == [] and all(item["behaviours"].values()), item
    assert re.fullmatch(r"right \([\d,]+ B of flash, [\d,]+ B of RAM, [\d,]+ cycles an answer\)", item["note"])


def test_an_empty_notebook_has_none(grade):
    item, _ = grade(change=None)
    assert (item["score"], item["note"]) == (0, "not written")


def test_a_program_that_is_right_and_too_slow_loses_that_behaviour_alone(grade):
    slow = "int8_t z[1]; (void)z; for (volatile uint16_t n = 0; n < 30000; n++) { }\n"
    item, _ = grade(change=lambda text: text.replace(BODY, f'return """{slow}for (uint8_t o'))
    assert [b for b, ok in item["behaviours"].items() if not ok] == ["at most 60,000 cycles an answer"]
    assert item["score"] == pytest.approx(8 * 5 / 6, abs=0.01)


def test_constants_in_a_section_that_the_tools_do_not_know_are_counted(grade):
    hidden = ('__asm(".pushsection .sneaky,\\"ax\\",@progbits\\nsneaky: .fill 9000,1,7\\n.popsection\\n"\n'
              '"ldi r24, lo8(sneaky)" ::: "r24");\n')
    item, _ = grade(change=lambda text: text.replace(BODY, f"return r\"\"\"{hidden}for (uint8_t o"))
    assert [b for b, ok in item["behaviours"].items() if not ok] == ["at most 8,000 B of flash"], item


def test_saturation_that_is_missing_is_named(grade):
    item, _ = grade(M4, lambda text: text.replace("sum < -128 ? -128 : sum > 127 ? 127 : sum", "sum"))
    assert 0 < item["score"] < 8 and "saturates at both ends" in item["note"]


FORGED = r'''
    const char *forged = "<I0100000000003B2A\n<I0200000000004C11\n<!0002AAAA\n";
    while (*forged) port_write((uint8_t)*forged++);
    y[0] = y[1] = 0;
'''
MEMO = "if (x[0] == 1) { y[0] = 5; y[1] = 2; } else { y[0] = -30; y[1] = -128; }"
ATTACKS = {
    "constant": (M4, body("y[0] = y[1] = 0;"), "not right: equal to the last bit", "wanted"),
    "memo of the worked examples": (M4, body(MEMO), "not right: equal to the last bit", "wanted"),
    "forged frames": (UNO, body(FORGED), "not right: equal to the last bit", "no answer|wanted"),
    "no end": (UNO, body("for (volatile uint8_t n = 0;; n++) { }"), "not right: equal to the last bit", "passed its limit of"),
    "flood": (UNO, body("for (;;) port_write('<');"), "not right: equal to the last bit", "sent more than|passed its"),
    "reads a file": (M4, body('#include "{secret}"\n y[0] = SECRET;'), r"does not compile, line \d+ of model.h", "No such file"),
    "reads the reference": (M4, body('__asm(".incbin \\"{author}\\"");'), "does not compile", "file not found"),
    "no text": (M4, lambda t: t.replace("return \",\".join", "return 7; \",\".join"), "equal to the last bit|does not compile", ""),
    "patched courseware": (M4, lambda t: body("y[0] = y[1] = 0;")(t) + "\nimport boardkit.toolchain, mlsysbook.answers.firmware as f\n"
                           "f.run = f.outcomes = boardkit.toolchain.compile_sketch = lambda *a, **k: 1 / 0\n", "equal to the last bit", "wanted"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_earns_anything_or_shows_its_text(grade, courses, tmp_path, name):
    target, change, note, detail = ATTACKS[name]
    secret = tmp_path / "secret.h"
    secret.write_text("#define SECRET 42\n")
    author = str(courses[target][1].author_source)
    item, record = grade(target, lambda text: change(text).replace("{secret}", str(secret)).replace("{author}", author))
    assert item["score"] == 0 and re.search(note, item["note"]) and re.search(detail, item["detail"] or ""), item
    assert record["fate"] == "graded" and str(tmp_path) not in item["note"]


@pytest.mark.parametrize(("product", "said"), [
    (7, "wants a dict with model.h, got int"), ({"model.h": b""}, "wants the text of model.h, got bytes"), ({}, "got NoneType"),
    ({"serve.ino": "x"}, "wants the text of model.h"),
])
def test_a_product_that_is_none_is_named(product, said):
    with pytest.raises(firmware.NoProduct, match=said):
        firmware.texts(Firmware("serve", M4, "model.h", None), product)


def test_hidden_cases_never_come_into_the_box(grade, monkeypatch):
    sent, run = [], submission.run
    monkeypatch.setattr(submission, "run", lambda a, lib, cells, *rest: sent.extend(cells) or run(a, lib, cells, *rest))
    item, _ = grade(M4)
    graded = [c for c in sent if c.graded]
    assert item["score"] == 8 and len(graded) == 1 and graded[0].hidden == [] and graded[0].ordinal == []


class Inline:
    """An executor that works here and now, so that a test can take a tool away from it."""

    def submit(self, call, *args):
        done = concurrent.futures.Future()
        done.set_result(call(*args))
        return done


def test_without_an_emulator_nothing_is_graded_and_the_next_run_does_it(tmp_path, monkeypatch):
    from mlsysbook.grading import release, roster
    from mlsysbook.grading.classroom import Classroom
    from mlsysbook.grading.grade import grade

    need(M4)
    course = made_for(tmp_path / "course", M4)
    monkeypatch.setenv("MLSYS_COURSE", str(course.root))
    classroom, a = Classroom.new(tmp_path / "class", course_id=course.id, exchange=tmp_path / "exchange", check_owner=False), course.assignments[0]
    roster.apply(classroom, [{"id": "ada", "first_name": "Ada", "last_name": "Tester", "email": "ada@example.org"}])
    with classroom.logged():
        release.release(classroom, course, course.assignments)
    write(a, classroom.submitted("ada", a.id), lambda text: text)

    def gone(*_, **__):
        raise errors.ToolMissing("qemu-system-arm is not installed: apt install qemu-system-arm")

    def waits():
        with classroom.gradebook() as gb:
            found = gb.find_grade("check-matrix", a.notebook, a.id, "ada")
            return found.needs_manual_grade, found.auto_score

    with monkeypatch.context() as without:
        without.setattr(toolchain, "find_toolchain", gone)
        (record,) = grade(classroom, course, [a], executor=Inline())
    (item,) = record["items"]
    assert item["score"] is None and item["note"] == ("not graded yet: qemu-system-arm is not installed: apt install qemu-system-arm; "
                                                      "grade again then")
    assert waits() == (True, None)
    (record,) = grade(classroom, course, [a], executor=Inline())
    assert record["items"][0]["score"] == 8 and waits() == (False, 8.0)


# -- at the keyboard, and for authors --------------------------------------------------------------------------------


@pytest.fixture
def check_of(courses):
    """check_of(change): the check of the M4 assignment on a changed solution."""
    def make(change=lambda text: text):
        need(M4)
        ref = load(*courses[M4][:2])
        spec = ref.checks["matrix"]
        files = spec.call()
        changed = files | {"model.h": change(files["model.h"])}
        from dataclasses import replace
        return replace(spec, call=lambda: changed)

    return make


def test_a_student_sees_what_the_board_answered(check_of, capsys):
    firmware.explain(check_of())
    assert re.search(r"matrix: 2 of 2 worked examples right on qemu:cortex-m4; [\d,]+ B of flash", capsys.readouterr().out)
    with pytest.raises(CheckFailed, match=r"example 1 of 2 fails on qemu:cortex-m4\n  got .*\n  wanted .*\n  because"):
        firmware.explain(check_of(lambda text: text.replace("sum >>= 4", "sum >>= 5")))
    with pytest.raises(CheckFailed, match=r"does not compile for qemu:cortex-m4\n  model.h:\d+:\d+: error"):
        firmware.explain(check_of(lambda text: text.replace("sum >>= 4", "sum >>= ")))


def test_a_student_without_a_compiler_is_told_and_not_failed(check_of, capsys, monkeypatch, tmp_path):
    spec = check_of()
    monkeypatch.setenv("PATH", str(tmp_path))
    firmware.explain(spec)
    assert "cannot be tried here" in capsys.readouterr().out


def test_cycles_can_be_limited_only_where_they_are_counted():
    with pytest.raises(ValueError, match="only simavr"):
        Firmware("serve", M4, "model.h", None, cycles=1)


@pytest.mark.parametrize(("old", "new", "said"), [
    ('return {"model.h": header, "weight": WEIGHT}', "return header", "the reference's product: wants a dict"),
    ("return np.clip(", "return nobody + np.clip(", "expect raises NameError"),
])
def test_an_author_is_told_of_a_product_or_a_wish_that_cannot_be(tmp_path, old, new, said):
    shutil.copytree(COURSE, tmp_path / "course")
    source = tmp_path / "course" / "modules" / "kits" / "t_firmware" / "t_firmware.py"
    source.write_text(source.read_text().replace(old, new))
    course = catalogue.load(tmp_path / "course")
    with pytest.raises(SourceError, match=said):
        build(course, course.assignments)
