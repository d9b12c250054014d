"""arduino-cli by its contract: recorded answers, replayed by a stand-in. No arduino-cli runs here."""

import json
from pathlib import Path

import pytest

from boardkit import arduino_cli, errors, toolchain
from boardkit.arduino_cli import ArduinoCli, Port
from boardkit.toolchain import compile_sketch, find_toolchain
from tests.kits.double import calls, double

RECORDED = Path(__file__).parent / "recorded"
VERSION = {"out": json.dumps({"Application": "arduino-cli", "VersionString": "1.2.2", "Commit": "c11b9dd5", "Status": "", "Date": ""})}


def recorded(name, code, **more):
    return {"out": (RECORDED / f"{name}.json").read_text(), "code": code} | more


@pytest.fixture
def sketch(tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "bad.ino").write_text("void setup() { nope; }\nvoid loop() {}\n")
    return folder


@pytest.fixture
def compiled(tmp_path, sketch):
    """compiled(answer, board="uno", **options) -> (report, the arguments of the call)."""
    def run(answer, board="uno", **options):
        tool = ArduinoCli(double(tmp_path / "cli", {"version": VERSION, "compile": answer}))
        report = compile_sketch(sketch, board, build=tmp_path / "build", toolchain=tool, **options)
        return report, next(c for c in calls(Path(tool.exe)) if c[0] == "compile")

    return run


def test_success_is_sizes_paths_and_the_backend_by_name(compiled):
    report, argv = compiled(recorded("compile_ok", 0, makes=["bad.ino.elf", "bad.ino.hex"]), defines={"N": 4})
    assert report.ok and (report.backend, report.version) == ("arduino-cli", "1.2.2")
    assert (report.flash, report.flash_max, report.ram, report.ram_max) == (5512, 32256, 316, 2048)
    assert report.elf.is_file() and report.hex.is_file() and report.diagnostics == ()
    assert argv[:4] == ["compile", "--fqbn", "arduino:avr:uno", "--build-path"] and "--json" in argv
    flags = [argv[i + 1] for i, a in enumerate(argv) if a == "--build-property"]
    assert [f.split("=")[0] for f in flags] == ["compiler.cpp.extra_flags", "compiler.c.extra_flags"]
    assert all(f'"-I{toolchain.LIBRARY}"' in f and f.endswith("-DN=4") for f in flags)


def test_a_sketch_that_does_not_compile_is_a_result_on_standard_output(compiled):
    with pytest.raises(errors.SketchError, match=r"bad.ino:1:23: error: .nope. was not declared in this scope") as caught:
        compiled(recorded("compile_error", 1))
    (first,) = caught.value.diagnostics
    assert (first.severity, first.file, first.line, first.column) == ("error", "bad.ino", 1, 23)
    assert not caught.value.report.ok and caught.value.report.elf is None


def test_a_success_without_a_program_is_none(compiled):
    with pytest.raises(errors.KitError, match="no bad.ino.elf"):
        compiled(recorded("compile_ok", 0))


def test_an_unknown_board_is_a_board_error(compiled):
    with pytest.raises(errors.BoardError, match="board arduino:avr:nosuch not found"):
        compiled(recorded("compile_unknown_board", 1), board="arduino:avr:nosuch")


@pytest.mark.parametrize(("answer", "kind", "text"), [
    ({"success": False, "builder_result": None, "error": "Error during build: Platform 'arduino:mbed_nicla' not found: platform not "
      "installed"}, errors.PlatformMissing, "arduino-cli core install arduino:mbed_nicla"),
    ({"success": False, "builder_result": None, "error": "Error during build: Invalid FQBN: not an FQBN: bad"}, errors.UsageError, "not an"),
])
def test_errors_inside_a_compile_result_are_told_apart(compiled, answer, kind, text):
    with pytest.raises(kind, match=text):
        compiled({"out": json.dumps(answer), "code": 1}, board="nicla_vision")


@pytest.mark.parametrize(("answer", "kind", "text"), [
    ({"err": json.dumps({"error": "Can't open sketch: no valid sketch found in /x"}), "code": 1}, errors.UsageError, "Can't open sketch"),
    ({"err": json.dumps({"error": "strange"}), "code": 1}, errors.KitError, "strange"),
    ({"err": "Error: unknown flag: --jsn\nUsage: ...", "code": 1}, errors.UsageError, "unknown flag"),
    ({"code": 1}, errors.KitError, "said nothing"),
    ({"out": "not JSON", "code": 0}, errors.UsageError, "not JSON"),
    ({"out": "[]", "code": 0}, errors.KitError, "arduino-cli"),
])
def test_what_comes_on_standard_error_is_an_error_of_its_kind(compiled, answer, kind, text):
    with pytest.raises(kind, match=text):
        compiled(answer)


def test_a_compiler_that_does_not_end_is_stopped(compiled, monkeypatch):
    monkeypatch.setattr(arduino_cli, "COMPILE_SECONDS", 0.5)
    with pytest.raises(errors.TimeLimit, match="stopped after 0.5 s"):
        compiled(recorded("compile_ok", 0, sleep=60))


def test_ports_of_both_generations_are_read(tmp_path):
    uno = {"matching_boards": [{"name": "Arduino Uno", "fqbn": "arduino:avr:uno"}], "port": {"address": "/dev/ttyACM0", "protocol": "serial"}}
    clone = {"port": {"address": "/dev/ttyUSB0"}}
    for answer in ({"detected_ports": [uno, clone], "warnings": ["x"]}, [uno, clone]):
        tool = ArduinoCli(double(tmp_path / "cli", {"board list": {"out": json.dumps(answer)}}))
        assert tool.ports() == [Port("/dev/ttyACM0", "Arduino Uno", "arduino:avr:uno"), Port("/dev/ttyUSB0")]


def test_the_port_after_an_upload_is_the_one_that_it_names(tmp_path, compiled):
    report, _ = compiled(recorded("compile_ok", 0, makes=["bad.ino.elf", "bad.ino.hex"]))
    moved = {"stdout": "", "stderr": "", "updated_upload_port": {"address": "/dev/ttyACM1"}}
    tool = ArduinoCli(double(tmp_path / "cli", {"upload": {"out": json.dumps(moved)}}))
    assert tool.upload(report, "/dev/ttyACM0", "arduino:avr:uno") == "/dev/ttyACM1"
    assert calls(Path(tool.exe))[-1] == ["upload", "--fqbn", "arduino:avr:uno", "--port", "/dev/ttyACM0", "--input-dir",
                                         str(report.elf.parent), "--json"]
    tool = ArduinoCli(double(tmp_path / "cli", {"upload": {"out": "{}"}}))
    assert tool.upload(report, "/dev/ttyACM0", "arduino:avr:uno") == "/dev/ttyACM0"
    tool = ArduinoCli(double(tmp_path / "cli", {"upload": {"err": '{"error": "Failed uploading: no device"}', "code": 1}}))
    with pytest.raises(errors.BoardError, match="no device"):
        tool.upload(report, "/dev/ttyACM0", "arduino:avr:uno")


def test_cores_are_listed_and_one_is_installed_by_name(tmp_path):
    listed = {"platforms": [{"id": "arduino:avr", "installed_version": "1.8.7", "latest_version": "1.8.8"}]}
    tool = ArduinoCli(double(tmp_path / "cli", {"core list": {"out": json.dumps(listed)}, "core install": {"out": "{}"}}), config="/c.yaml")
    assert tool.cores() == {"arduino:avr": "1.8.7"}
    tool.install_core("arduino:mbed_nicla")
    assert calls(Path(tool.exe))[-1] == ["core", "install", "arduino:mbed_nicla", "--json", "--config-file", "/c.yaml"]


def test_the_program_named_in_the_environment_comes_first(tmp_path, monkeypatch):
    program = double(tmp_path / "cli", {"version": VERSION})
    monkeypatch.setenv("ARDUINO_CLI", str(program))
    assert find_toolchain(board="uno").exe == str(program)
    monkeypatch.setenv("ARDUINO_CLI", str(tmp_path / "nowhere"))
    with pytest.raises(errors.UsageError, match="ARDUINO_CLI is"):
        find_toolchain(board="uno")


def test_a_board_without_a_core_is_refused(tmp_path, sketch):
    with pytest.raises(errors.UsageError, match="no Arduino board"):
        compile_sketch(sketch, "grove_vision_ai_v2", toolchain=ArduinoCli(double(tmp_path / "cli", {})))
