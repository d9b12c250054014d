"""Programs that run, on every emulator: what comes back, what is counted, and how each kind of end is told."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from serial import SerialException

from boardkit import errors, targets
from boardkit.boards import boards
from boardkit.targets import open_target
from boardkit.toolchain import compile_sketch
from tests.kits.conftest import need

pytestmark = pytest.mark.slow

SKETCHES = Path(__file__).parent / "sketches"
URLS = [b.target for b in boards().values() if b.target]
UNO = "simavr:atmega328p"
LCG = {0: 1, 1: 1015568748, 1000: 645503657}    # state after n steps of x -> 1664525 x + 1013904223 mod 2^32, from 1


@pytest.fixture(scope="session")
def built():
    """built(sketch, url): its CompileReport, made once in this process."""
    made = {}

    def build(sketch, url):
        need(url)
        if (sketch, url) not in made:
            made[sketch, url] = compile_sketch(SKETCHES / sketch if (SKETCHES / sketch).is_dir() else sketch, url)
        return made[sketch, url]

    return build


def dialogue(target, pause=0.0):
    """Ask count for every n of LCG -> [(state, ticks)]."""
    said = []
    for n in LCG:
        target.serial.write(b"%d\n" % n)
        time.sleep(pause)
        state, ticks = target.serial.readline().split()
        said.append((int(state), int(ticks)))
    return said


def test_the_generator_of_the_sketch_is_the_one_written_down_here():
    state = 1
    for n in range(1001):
        assert LCG.get(n, state) == state
        state = (1664525 * state + 1013904223) % 2**32


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("boxed", [False, True])
def test_what_is_sent_comes_back_byte_for_byte(built, url, boxed):
    with open_target(url, built("echo", url), boxed=boxed) as target:
        for data in (b"x", bytes(range(256)), b"a line\r\n" * 30):
            target.serial.write(data)
            assert target.serial.read(len(data)) == data
        assert target.ended() == ""
    assert target.ended() == "it ended with its line"


@pytest.mark.parametrize("url", URLS)
def test_a_byte_that_comes_before_the_first_read_is_read(built, url):
    with open_target(url, built("early", url)) as target:
        target.serial.write(b"early")
        assert target.serial.read(5) == b"early"


@pytest.mark.parametrize("url", [u for u in URLS if not u.startswith("qemu-user")])
def test_counts_are_the_same_in_three_runs_however_slow_the_host_is(built, url):
    runs = []
    for pause in (0.0, 0.0, 0.03):
        with open_target(url, built("count", url), boxed=pause > 0) as target:
            said = dialogue(target, pause)
        assert [state for state, _ in said] == list(LCG.values())
        runs.append((said, target.counts()))
    assert runs[0] == runs[1] == runs[2]
    (_, none), (_, one), (_, many) = said
    assert none < one < many and many > 200 * (one - none)


def test_ticks_of_an_uno_are_cycles_and_lie_within_its_turn(built):
    with open_target(UNO, built("count", UNO)) as target:
        said = dialogue(target)
    counts = target.counts()
    assert counts.kind == "simulated cycles" and len(counts.turns) == len(LCG)
    assert all(ticks < turn < ticks + 60_000 for (_, ticks), turn in zip(said, counts.turns, strict=True))
    assert sum(counts.turns) < counts.total
    assert target.count(said[-1][1]) == said[-1][1]


def test_instructions_are_ticks_of_32_nanoseconds_each(built):
    need("qemu:cortex-m4")
    m4, m55 = boards()["an386"], boards()["an547"]
    for board in (m4, m55):
        assert targets.Target("", "instructions", None, board=board).count(board.clock // 1000) == 31_250      # of a millisecond


@pytest.mark.parametrize("word", [b"l\n", b"e\n"])
def test_a_program_cannot_make_its_turn_look_shorter(built, word):
    """Neither by an early line that is no answer nor by computing before it takes the end of the question."""
    took = {}
    for what in (b"b\n", word):
        with open_target(UNO, built("misbehave", UNO)) as target:
            target.serial.write(what)
            target.serial.read_until(b"done\n")
        took[what] = target.counts().turns[0]
    assert took[b"b\n"] > 100_000
    assert took[word] > 0.95 * took[b"b\n"]


@pytest.mark.parametrize(("word", "limits", "said"), [
    (b"h\n", {"cycles_max": 3_000_000}, "it passed its limit of 3,000,000 cycles"),
    (b"f\n", {"output_max": 2_000}, "it sent more than 2,000 bytes"),
    (b"s\n", {}, "it went to sleep with interrupts off, for good"),
    (b"c\n", {}, "it crashed"),
])
def test_each_end_of_a_simulated_program_is_told(built, word, limits, said):
    with open_target(UNO, built("misbehave", UNO), timeout=30, **limits) as target:
        target.serial.write(word)
        with pytest.raises(SerialException):
            while target.serial.read(1000):
                pass
        assert said in target.ended(wait=60)
    assert said in target.ended() or target.ended() == "it ended with its line"


@pytest.mark.parametrize("url", [UNO, "qemu:cortex-m4", "qemu-user:aarch64"])
def test_a_program_that_computes_for_ever_ends_with_its_target(built, url):
    target = open_target(url, built("misbehave", url), timeout=0.2)
    target.serial.write(b"h\n")
    assert target.serial.readline() == b""
    pid = target._emulator.process.pid
    target.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("url", [UNO, "qemu:cortex-m4", "qemu-user:aarch64"])
def test_waiting_costs_no_processor_time(built, url):
    with open_target(url, built("echo", url)) as target:
        target.serial.write(b"x")
        target.serial.read(1)
        before = _cpu_seconds(target._emulator.process.pid)
        time.sleep(0.4)
        assert _cpu_seconds(target._emulator.process.pid) - before < 0.2        # a loop would have taken 0.4


def _cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_only_our_own_connection_gets_the_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        stranger = socket.create_connection(server.getsockname())
        ours = socket.create_connection(server.getsockname())
        with targets._accept(server, ours.getsockname()) as end:
            end.sendall(b"x")
            assert ours.recv(1) == b"x" and stranger.recv(1) == b""
        stranger.close()
        ours.close()


@pytest.mark.parametrize(("url", "kind", "said"), [
    ("simavr:atmega328", errors.BoardError, "did you mean simavr:atmega328p"),
    ("qemu:cortex-m0", errors.BoardError, "did you mean qemu:cortex-m"),
    (UNO, errors.UsageError, "needs a program to run"),
    ("xiao_esp32s3", errors.UsageError, "no emulator here"),
    ("nicla_vision", errors.UsageError, "qemu:cortex-m7 runs the same kernels"),
    ("/dev/ttyNOSUCH7", errors.BoardError, "serial ports here"),
    ("socket://127.0.0.1:1", errors.BoardError, "127.0.0.1:1"),
])
def test_a_target_that_cannot_be_opened_says_why_in_one_line(url, kind, said):
    with pytest.raises(kind, match=said) as caught:
        open_target(url)
    assert "\n" not in str(caught.value)


def test_a_board_on_a_port_is_a_line_like_any_other():
    with open_target("loop://") as target:
        target.serial.write(b"there\n")
        assert target.serial.readline() == b"there\n"
        assert target.counts() == targets.Counts("board timer") and target.ended() == ""


def test_the_runner_is_compiled_anew_when_its_text_is_another(tmp_path, monkeypatch):
    need(UNO)
    from boardkit import runner

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = runner.avr_runner.__wrapped__()
    assert first == runner.avr_runner.__wrapped__() and first.parent.parent == tmp_path
    other = tmp_path / "avr.c"
    other.write_text(runner.SOURCE.read_text() + "\n")
    monkeypatch.setattr(runner, "SOURCE", other)
    assert runner.avr_runner.__wrapped__() != first
    other.write_text("#include <nowhere.h>\n")
    with pytest.raises(errors.ToolMissing, match="runner does not compile .*nowhere.h.*libsimavr-dev"):
        runner.avr_runner.__wrapped__()
    assert [p.name for p in first.parent.iterdir() if p.is_dir()] == []


def test_the_runner_says_how_it_is_called():
    need(UNO)
    from boardkit.runner import avr_runner

    done = subprocess.run([avr_runner()], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and done.stderr.startswith("usage: avr MCU HZ")
