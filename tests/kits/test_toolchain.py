"""Real compilers: what a report says, what a student reads when a sketch is wrong, and what a boxed compiler cannot see."""

import os

import pytest

from boardkit import elf, errors, process, toolchain
from boardkit.boards import boards
from boardkit.toolchain import compile_sketch, find_toolchain
from mlsysbook.box import cgroup, command
from mlsysbook.box.limits import Limits
from mlsysbook.errors import BoxError
from tests.kits.conftest import need

pytestmark = pytest.mark.slow

TARGETS = [b.target for b in boards().values() if b.target]
QUICK = "qemu:cortex-m4"                # its compiler takes a tenth of a second


def sketch(folder, text="void setup(void) {}\nvoid loop(void) {}\n", name="small"):
    made = folder / name
    made.mkdir(exist_ok=True)
    (made / f"{name}.ino").write_text(text)
    return made


@pytest.mark.parametrize("target", TARGETS)
def test_echo_compiles_for_every_emulator_and_the_report_agrees_with_the_program(target):
    need(target)
    report = compile_sketch("echo", target)
    assert report.ok and report.diagnostics == () and report.version and report.backend in report.argv[0]
    size = elf.memory(report.elf)
    assert (report.flash, report.ram) == (size.flash, size.ram)     # the Arduino tools count with avr-size, elf.py by itself
    symbols = elf.symbols(report.elf)
    assert sum(s.size for s in symbols if s.place == "flash") <= report.flash
    assert "loop" in {s.name for s in symbols} or "main" in {s.name for s in symbols}       # AVR inlines loop


@pytest.mark.parametrize("target", ["uno", QUICK])
def test_an_error_has_its_file_line_and_column_and_nothing_is_left_of_the_build_before(target, tmp_path):
    need("avr" if target == "uno" else target)
    good = {"part.h": "static int part(void) { return 1; }\n"}
    text = '#include "part.h"\nint kept;\nvoid setup(void) { kept = part(); }\nvoid loop(void) {}\n'
    folder = sketch(tmp_path, text)
    first = compile_sketch(folder, target, build=tmp_path / "build", files=good)
    assert first.elf.is_file()
    with pytest.raises(errors.SketchError, match=r"small does not compile for \w+: part.h:2:\d+: error: .*undeclared|not declared") as caught:
        compile_sketch(folder, target, build=tmp_path / "build", files={"part.h": "static int part(void) {\nreturn nobody; }\n"})
    error = caught.value.diagnostics[0]
    assert (error.severity, error.file, error.line) == ("error", "part.h", 2) and error.column > 0
    assert not first.elf.exists() and not caught.value.report.ok


def test_the_sketchs_own_error_is_found_too(tmp_path):
    need("avr")
    report = compile_sketch(sketch(tmp_path, "void setup() {\n  nope;\n}\nvoid loop() {}\n"), "uno", check=False)
    assert not report.ok and (report.diagnostics[0].file, report.diagnostics[0].line) == ("small.ino", 2)


@pytest.mark.parametrize(("target", "text", "said"), [
    (QUICK, "void lost(void);\nvoid setup(void) { lost(); }\nvoid loop(void) {}\n", "undefined reference to `lost'"),
    (QUICK, "char much[5000000];\nvoid setup(void) { much[1] = 1; }\nvoid loop(void) { much[2]++; }\n", "does not fit in memory"),
    ("uno", "volatile char much[3000];\nvoid setup() { much[1] = 1; }\nvoid loop() {}\n", "does not fit in memory"),
])
def test_what_the_linker_refuses_is_an_error_too(tmp_path, target, text, said):
    need("avr" if target == "uno" else target)
    with pytest.raises(errors.SketchError, match=said):
        compile_sketch(sketch(tmp_path, text), target)


@pytest.mark.parametrize("options", [
    {"files": {"../out.h": ""}}, {"files": {"x.sh": ""}}, {"defines": {"N": "1 -o /tmp/x"}}, {"defines": {"-o": 1}}, {"target": "unno"},
    {"sketch": "nosuch"}, {"sketch": "../echo"},
])
def test_bad_input_is_refused_in_one_line(options):
    with pytest.raises(errors.KitError) as caught:
        compile_sketch(**{"sketch": "echo", "target": QUICK} | options)
    assert "\n" not in str(caught.value) and type(caught.value) in (errors.UsageError, errors.BoardError)


def test_a_board_without_a_core_here_says_what_to_install():
    need("avr")
    with pytest.raises(errors.PlatformMissing, match="arduino-cli"):
        compile_sketch("echo", "nicla_vision", toolchain=toolchain.ArduinoBuilder())


def test_no_toolchain_at_all_says_how_to_install_each(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ARDUINO_CLI", raising=False)
    with pytest.raises(errors.ToolMissing, match="arduino-cli: .*; arduino-builder: apt install"):
        find_toolchain(board="uno")
    with pytest.raises(errors.ToolMissing, match="arm-none-eabi-gcc is not installed: apt install"):
        compile_sketch("echo", QUICK)


@pytest.mark.parametrize(("name", "said"), [
    ("_ZN5Print5writeEPKhj", "Print::write"), ("_ZL3putm", "put"), ("main", "main"), ("_ZTV14HardwareSerial", "HardwareSerial (table)"),
    ("_ZNK6String6lengthEv", "String::length"), ("_ZL14port_overflows", "port_overflows"), ("_Z", "_Z"),
])
def test_names_of_cpp_are_shown_as_they_were_written(name, said):
    assert elf.plain(name) == said


def test_elf_files_that_are_none_or_cut_off_are_refused(tmp_path):
    need(QUICK)
    whole = compile_sketch("echo", QUICK).elf.read_bytes()
    for n, data in enumerate((b"", b"\x7fELF", b"MZ" + whole[2:], whole[:60], whole[:-200])):
        path = tmp_path / f"{n}.elf"
        path.write_bytes(data)
        with pytest.raises(errors.KitError, match=f"{n}.elf"):
            elf.symbols(path)


# -- in the box ------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    """A file that everybody here may read, as hidden vectors would be if they were on a disk."""
    path = tmp_path / "secret.h"
    path.write_text("#define SECRET 42\n")
    for folder in (path, *path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o755)
    return path


@pytest.mark.parametrize("how", ['#include "{}"', 'asm(".incbin \\"{}\\"");', '#include "../../../../../../../../{}"'])
def test_a_boxed_compiler_reads_nothing_outside_the_sketch(secret, tmp_path, how):
    need(QUICK)
    folder = sketch(tmp_path, how.format(secret) + "\nvoid setup(void) {}\nvoid loop(void) {}\n")
    if "../" not in how:
        assert compile_sketch(folder, QUICK).ok         # without a box it does
    with pytest.raises(errors.SketchError) as caught:
        compile_sketch(folder, QUICK, boxed=True)
    assert "No such file" in str(caught.value) or "file not found" in str(caught.value)


def test_a_boxed_arduino_build_reads_nothing_outside_the_sketch(secret, tmp_path):
    need("avr")
    folder = sketch(tmp_path, f'#include "{secret}"\nvoid setup() {{}}\nvoid loop() {{}}\n')
    with pytest.raises(errors.SketchError, match="No such file"):
        compile_sketch(folder, "uno", boxed=True)


def test_a_build_in_another_folder_and_in_a_box_is_the_same_program(tmp_path):
    need("avr")
    a, b = (compile_sketch("echo", "uno", build=tmp_path / f"boxed {boxed}", boxed=boxed) for boxed in (False, True))
    assert a.hex.read_bytes() == b.hex.read_bytes()


def test_a_compiler_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    need(QUICK)
    monkeypatch.setattr(toolchain, "COMPILE_SECONDS", 1.5)
    bomb = "#define A0 1+1\n" + "".join(f"#define A{i} A{i - 1}+A{i - 1}\n" for i in range(1, 40)) + "int x = A39;\n"
    with pytest.raises(errors.TimeLimit, match="did not end within 1.5 s"):
        compile_sketch(sketch(tmp_path, bomb + "void setup(void) {}\nvoid loop(void) {}\n"), QUICK, boxed=True)


def test_output_without_end_is_cut(tmp_path):
    need(QUICK)
    noise = "".join(f'#warning "{"x" * 400} {i}"\n' for i in range(3_000))
    report = compile_sketch(sketch(tmp_path, noise + "void setup(void) {}\nvoid loop(void) {}\n"), QUICK, boxed=True, check=False)
    assert report.ok and 0 < sum(len(str(d)) for d in report.diagnostics) <= process.MAX_OUTPUT


MANY = ["sh", "-c", "for i in $(seq 300); do sleep 20 & done; echo all"]


@pytest.fixture(params=["as it is here", "of root itself"])
def identity(request, monkeypatch):
    if request.param == "of root itself":
        group = None if os.geteuid() else cgroup.create(Limits())
        if group is None:
            pytest.skip("only root with control groups can limit processes of root itself")
        group.remove()
        monkeypatch.setattr(command, "probe", lambda: command.Identity(None))
    elif command.probe().uid is None:
        pytest.skip("the box keeps the caller's user here, whose other processes count towards the limit too")


def test_a_boxed_tool_starts_no_more_processes_than_it_may(identity):
    done = process.run(MANY, timeout=60, boxed=True)
    assert done.code != 0 and "all" not in done.out and "fork" in done.err.lower()


def test_a_boxed_tool_whose_processes_nothing_would_limit_is_refused(monkeypatch):
    monkeypatch.setattr(command, "probe", lambda: command.Identity(None))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cgroup, "create", lambda limits: None)
    with pytest.raises(BoxError, match="cannot limit processes"):
        process.run(["true"], timeout=60, boxed=True)
