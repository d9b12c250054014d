"""Device pages say what boards.toml says, and the sketches are C++ for Arduino cores other than AVR, of which none is here."""

import re
import shutil
import subprocess

import pytest

from boardkit.boards import boards
from boardkit.calibrate import Case
from boardkit.dsp import LogMel
from boardkit.export import header
from mlsysbook.catalogue import find_root

PAGES = sorted((find_root() / "kits/devices").glob("*.md"))
SKETCHES = find_root() / "kits/sketches"
# As much of an Arduino core as lib/ports/arduino.h asks for.
CORE = """#include <stddef.h>
#include <stdint.h>
struct Line { void begin(unsigned long); int available(); int read(); void flush(); size_t write(uint8_t); operator bool() const; };
extern Line Serial;
unsigned long micros();
void yield();
"""


def test_each_board_that_needs_a_vendors_core_has_a_page():
    assert {p.stem for p in PAGES} == {"nicla_vision", "xiao_esp32s3", "grove_vision_ai_v2", "raspberry_pi"} <= boards().keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_agrees_with_the_board_list(page):
    text, board = page.read_text(encoding="utf-8"), boards()[page.stem]
    if board.fqbn:
        assert f"`{board.fqbn}`" in text
        assert f"{board.flash:,} B flash" in text and f"{board.ram:,} B RAM" in text
    stand_in = boards()[board.stand_in].target if board.stand_in else None
    assert stand_in is None or f"`{stand_in}`" in text
    assert board.clock == 0 or f"{board.clock // 1_000_000} MHz" in text
    assert "Runs here:" in text and "## Wiring" in text
    for link in re.findall(r"\]\((\.\./[^)]+)\)", text):
        assert (page.parent / link).is_file(), link
    used, given = set(re.findall(r"\]\[(\d)\]", text)), set(re.findall(r"^\[(\d)\]: https://", text, re.M))
    assert used == given


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("sketch", ["echo", "front", "serve"])
def test_sketches_are_valid_cpp_for_cores_other_than_avr(sketch, tmp_path):
    (tmp_path / "Arduino.h").write_text(CORE)
    (tmp_path / "model.h").write_text(header(Case("conv2d", (8, 8, 4), 8, (3, 3), 1, 1).model()))
    (tmp_path / "front.h").write_text(LogMel(size=512, hop=512, bands=16).header())
    source = SKETCHES / sketch / f"{sketch}.ino"
    for standard in ("gnu++11", "gnu++17"):
        subprocess.run(["c++", f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-DARDUINO=10819", f"-I{tmp_path}", f"-I{SKETCHES / 'lib'}",
                        "-x", "c++", "-fsyntax-only", source], check=True)  # fmt: skip
