"""boardkit as it is typed."""

import json
import sys
from pathlib import Path

import pytest

from boardkit import cli
from tests.kits.conftest import need

pytestmark = pytest.mark.slow

COUNT = str(Path(__file__).parent / "sketches" / "count")
M4 = "qemu:cortex-m4"


@pytest.fixture
def boardkit(capsys, monkeypatch):
    """boardkit(*arguments) -> (exit status, standard output, standard error)."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["boardkit", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


def test_boards_are_listed_as_a_table_and_as_data(boardkit):
    status, out, _ = boardkit("boards")
    assert status == 0 and "simavr:atmega328p" in out and "the same kernels: qemu:cortex-m7" in out
    status, out, _ = boardkit("boards", "--json")
    assert {b["name"] for b in json.loads(out)} >= {"uno", "nicla_vision"}


def test_a_sketch_compiles_with_its_largest_symbols(boardkit):
    need(M4)
    status, out, _ = boardkit("compile", "echo", "--board", M4, "--symbols", "3", "--define", "UNUSED=1")
    assert status == 0 and out.startswith("an386: flash ") and "B  flash  Reset_Handler" in out
    status, out, _ = boardkit("compile", "echo", "-b", M4, "--json")
    assert json.loads(out)["ok"] is True


def test_a_sketch_that_does_not_compile_ends_with_1_and_its_errors(boardkit, tmp_path):
    need(M4)
    header = tmp_path / "wrong.c"
    header.write_text("int nothing(void) { return nobody; }\n")
    status, out, _ = boardkit("compile", "echo", "-b", M4, "--file", str(header))
    assert status == 1 and "wrong.c:1:28: error: " in out and "does not compile" in out


def test_a_run_shows_each_answer_and_its_cost(boardkit):
    need("simavr:atmega328p")
    status, out, _ = boardkit("run", COUNT, "--send", "1000", "--send", "0")
    assert status == 0 and "> 1000\n< 645503657 96059\n" in out and "simulated cycles: " in out
    need(M4)
    status, out, _ = boardkit("run", COUNT, M4, "--send", "1000", "--json")
    assert json.loads(out)["answers"][0].startswith("645503657 ")


def test_all_emulators_answer_the_same_side_by_side(boardkit):
    for url in ("simavr:atmega328p", M4, "qemu-user:aarch64"):
        need(url)
    status, out, _ = boardkit("bench", COUNT, "--send", "1000", "--json")
    rows = json.loads(out)
    assert status == 0 and len(rows) == 6 and {r["answers"][0].split()[0] for r in rows} == {"645503657"}


def test_the_doctor_tries_what_is_there(boardkit, monkeypatch):
    need("simavr:atmega328p")
    monkeypatch.setattr("boardkit.doctor.targets", lambda: ["simavr:atmega328p"])
    status, out, _ = boardkit("doctor")
    assert status == 0 and "simavr:atmega328p    echo works: " in out and "arduino-cli" in out


@pytest.mark.parametrize(("arguments", "said"), [
    (("compile", "nosuch"), "no sketch 'nosuch': wants a folder NAME with NAME.ino in it, or one of blink, echo"),
    (("run", "echo", "qemu:cortex-m9"), "did you mean qemu:cortex-m"), (("compile", "echo", "--file", "/nosuch"), "--file: "),
    (("flash", "echo", "/dev/ttyACM0"), "no Arduino toolchain: arduino-cli"), (("compile",), "Missing argument"),
])
def test_bad_input_is_one_line_and_status_2(boardkit, monkeypatch, arguments, said):
    monkeypatch.delenv("ARDUINO_CLI", raising=False)
    if arguments[0] == "flash":
        monkeypatch.setenv("PATH", "/nosuch")
    status, out, err = boardkit(*arguments)
    assert status == 2 and out == "" and said in err and err.count("\n") == 1
