"""Frames survive noise, cuts and wrong CRCs on both ends, and both ends judge every stream of bytes alike."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardkit.errors import ProtocolError
from boardkit.protocol import Decoder, Frame, Link, crc16, encode
from tests.kits import native

payloads = st.binary(max_size=40)
commands = st.sampled_from("?IEXz")
with_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here to compile the board's end with")


def board_frames(data, capacity):
    """What the C end makes of a stream -> list of Frames."""
    lib, found, room = native.library(), [], np.zeros(64, dtype=np.uint8)
    lib.begin(capacity)
    for byte in data:
        got = lib.push(byte)
        if got == 1:
            packed = lib.frame(native.pointer(room))
            found.append(Frame(chr(packed & 255), room[: packed >> 8].tobytes()))
        elif got:
            found.append(Frame(error=got))
    return found


def test_the_crc_is_the_one_of_the_catalogue():
    """CRC-16/CCITT-FALSE (also IBM-3740): check value 29B1 of the digits 1 to 9."""
    assert crc16(b"123456789") == 0x29B1
    assert encode("E", b"\x01\xff") == b">E01FF" + f"{crc16(b'E' + bytes([1, 255])):04X}".encode() + b"\n"


@given(commands, payloads, st.binary(max_size=30))
def test_a_frame_arrives_after_any_noise(command, payload, noise):
    sent = encode(command, payload, "<")
    assert Decoder().push(noise + sent)[-1] == Frame(command, payload)
    halves = Decoder()
    assert [f for b in noise + sent for f in halves.push(bytes([b]))] == Decoder().push(noise + sent)


@given(commands, payloads, st.data())
def test_a_flipped_bit_or_a_cut_is_never_taken_for_a_frame(command, payload, draw):
    sent = encode(command, payload, "<")
    at, bit = draw.draw(st.integers(1, len(sent) - 2)), draw.draw(st.integers(0, 7))
    broken = bytearray(sent)
    broken[at] ^= 1 << bit
    same = at > 1 and bytes(broken[2:]).upper() == sent[2:]  # a digit in the other case means the same
    assert same or Frame(command, payload) not in Decoder().push(bytes(broken))
    cut = Decoder().push(sent[:at] + b"\n")
    assert cut and cut[0].error
    again = Decoder().push(sent[:at] + sent)
    assert again == [Frame(command, payload)], "a start mark begins anew, whatever was open"


streams = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.builds(lambda c, p, lower: encode(c, p).lower() if lower else encode(c, p), commands, st.binary(max_size=24), st.booleans()),
        st.sampled_from([b">", b"\n", b"\r", b">I0", b">I00\n", b">\n", b">G1D\n", b">I0102\n", b">I" + b"00" * 30]),
    ),
    max_size=8,
).map(b"".join)


@with_gcc
@given(streams, st.integers(2, 20))
@settings(max_examples=300)
def test_both_ends_judge_every_stream_alike(stream, capacity):
    assert board_frames(stream, capacity) == Decoder(">", capacity).push(stream)


class Board:
    """A serial line with a board at its end. damage(n, frame) -> what the line makes of the n-th answer."""

    def __init__(self, damage=lambda n, frame: frame):
        self.damage, self.timeout, self.waiting, self.sent, self.decoder = damage, 1, b"", 0, Decoder(">")

    @property
    def in_waiting(self):
        return len(self.waiting)

    def read(self, n):
        got, self.waiting = self.waiting[:n], self.waiting[n:]
        return got

    def write(self, data):
        for frame in self.decoder.push(data):
            number, body = frame.payload[:1], frame.payload[1:]
            if frame.command == "?":
                answer = encode("?", number + b"\x01\x12\x34\x56\x78\x00\x03\x00\x02\x00\xf4\x24\x00cycles/toy", "<")
            elif frame.command == "I":
                answer = encode("I", number + bytes([body[0], 255]) + (1000).to_bytes(4, "big"), "<")
            elif frame.command == "E":
                answer = encode("E", frame.payload, "<")
            else:
                answer = encode("!", number + b"\x05", "<")
            self.waiting += self.damage(self.sent, answer)
            self.sent += 1


def test_a_link_asks_again_when_an_answer_is_lost_damaged_or_late():
    def damage(n, frame):
        kept.append(frame)
        return {0: b"", 1: frame[:-6] + b"\n", 2: b"\x00noise<" + kept[0] + frame}.get(n, frame)

    kept = []
    link = Link(Board(damage), timeout=0.5)
    assert link.info().name == "toy" and link.info().inputs == 3 and link.info().tick_hz == 16_000_000
    reply = link.infer(np.array([7, -8, 9], dtype=np.int8))
    assert reply.outputs.tolist() == [7, -1] and reply.ticks == 1000
    assert link.echo(b"abc") == b"abc"
    outputs, ticks = link.stream(np.zeros((3, 3), dtype=np.int8))
    assert outputs.shape == (3, 2) and ticks.tolist() == [1000] * 3


def test_a_link_says_what_is_wrong_and_who_says_so():
    with pytest.raises(ProtocolError, match="the line is silent"):
        Link(Board(lambda n, frame: b""), timeout=0.02, retries=1).info()
    with pytest.raises(ProtocolError, match=r"damaged \(CRC\)"):
        Link(Board(lambda n, frame: frame[:-5] + b"0000\n"), timeout=2).info()
    with pytest.raises(ProtocolError, match="refuses 'X': unknown command"):
        Link(Board()).call("X")
    with pytest.raises(ProtocolError, match="takes 3 of int8"):
        Link(Board()).infer(np.zeros(4, dtype=np.int8))
    with pytest.raises(ProtocolError, match="takes 3 of int8"):
        Link(Board()).infer(np.zeros(3))
    with pytest.raises(ProtocolError, match="one character"):
        encode("AB")
