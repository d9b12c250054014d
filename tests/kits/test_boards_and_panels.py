"""boards.toml against what the installed core says, and the pictures of a program against its figures."""

import re
from pathlib import Path

import pytest

import boardkit
from boardkit import errors
from boardkit.boards import board, boards
from boardkit.panels import LivePlot, against_prediction, memory_map
from boardkit.toolchain import compile_sketch
from tests.kits.conftest import need

BOARDS_TXT = Path("/usr/share/arduino/hardware/arduino/avr/boards.txt")


def test_every_board_has_sources_and_a_stand_in_that_there_is():
    for b in boards().values():
        assert b.sources and b.title and b.mcu and b.here in ("sketch", "kernels", "nothing"), b.name
        assert (b.here == "sketch") == bool(b.target) and (b.here == "kernels") == bool(b.stand_in), b.name
        assert not b.stand_in or boards()[b.stand_in].target
        assert b.fqbn or b.cross or b.stand_in, f"{b.name}: nothing compiles for it"
        assert board(b.name) is b and (not b.target or board(b.target) is b)


@pytest.mark.parametrize(("name", "menu"), [("uno", ""), ("mega", "menu.cpu.atmega2560.")])
def test_limits_are_those_of_the_installed_core(name, menu):
    need("avr")
    text = BOARDS_TXT.read_text()
    found = re.search(rf"^{name}\.{menu}upload\.maximum_size=(\d+)", text, re.M)
    data = re.search(rf"^{name}\.(?:{menu})?upload\.maximum_data_size=(\d+)", text, re.M)
    assert (board(name).flash, board(name).ram) == (int(found[1]), int(data[1]))


def test_a_board_that_only_a_core_knows_goes_by_its_fqbn():
    assert board("arduino:avr:nano:cpu=atmega328").fqbn == "arduino:avr:nano:cpu=atmega328"
    with pytest.raises(errors.BoardError, match="did you mean uno"):
        board("unoo")


def test_the_public_names_are_there():
    assert all(getattr(boardkit, name) for name in boardkit.__all__)
    with pytest.raises(AttributeError, match="it has .*open_target"):
        _ = boardkit.nosuch


def test_a_memory_map_adds_up_and_has_a_text():
    need("qemu:cortex-m4")
    report = compile_sketch(Path(__file__).parent / "sketches" / "count", "qemu:cortex-m4")
    panel = memory_map(report)
    flash, ram = panel.text.split("\nRAM")
    assert sum(int(n.replace(",", "")) for n in re.findall(r"^ +([\d,]+) B  ", flash, re.M)) == report.flash
    assert f": {report.ram:,} B of {report.ram_max:,} B" in ram and "loop" in flash
    shown = panel._repr_mimebundle_()
    assert shown["text/plain"] == panel.text and panel.png().startswith(b"\x89PNG")


def test_a_program_that_is_not_there_has_no_map():
    with pytest.raises(errors.UsageError, match="did not compile"):
        memory_map(boardkit.CompileReport(False, "x", "1", "uno"))


def test_a_prediction_beside_a_measurement_says_their_ratio():
    panel = against_prediction({"uno": (100.0, 150), "an386": (None, 20)})
    assert re.search(r"uno +100 +150  1\.50$", panel.text, re.M) and re.search(r"an386 +20$", panel.text, re.M)
    assert panel.png().startswith(b"\x89PNG")


def test_numbers_are_taken_from_the_line_as_they_come():
    with boardkit.open_target("loop://", timeout=0.05) as target:
        plot = LivePlot(target, ["x", "y"], keep=3, seconds=30)
        target.serial.write(b"1 2\nhello\n3,4\n5 6\n7 8\n\n")
        for _ in range(600):
            if len(plot.rows) == 3 and plot.rows[-1] == [7, 8]:
                break
            plot._over.wait(0.05)
        plot.stop()
    assert list(plot.rows) == [[3, 4], [5, 6], [7, 8]] and plot.other == 1
    assert plot.text == "rows of numbers: 3, the newest 7 8; lines of other text: 1" and plot.panel().png().startswith(b"\x89PNG")


def test_a_live_plot_draws_itself_anew_while_it_reads(capsys):
    with boardkit.open_target("loop://", timeout=0.05) as target:
        plot = LivePlot(target, seconds=30, every=0.0)
        plot._ipython_display_()
        first = bytes(plot._image.value)
        target.serial.write(b"1\n2\n")
        for _ in range(600):
            if len(plot.rows) == 2 and plot._label.value == plot.text:
                break
            plot._over.wait(0.05)
        plot.stop()
    assert len(plot.rows) == 2 and bytes(plot._image.value)[:4] == b"\x89PNG" and bytes(plot._image.value) != first and plot._label.value == plot.text
