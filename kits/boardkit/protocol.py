"""Frames over a serial line, the host's end; kits/sketches/lib/mlk_frame.h is the board's and says what a frame is.

    with open_target("simavr:atmega328p", firmware=report) as target:
        link = Link(target.serial)
        print(link.info())
        reply = link.infer(x)           # int8 vector -> Reply(outputs, ticks)
"""

import time
from dataclasses import dataclass

import numpy as np

from .errors import ProtocolError

ERRORS = {2: "CRC", 3: "too long", 4: "no hex text", 5: "unknown command", 6: "wrong size"}
LONGEST = 65535


def crc16(data, crc=0xFFFF):
    """CRC-16 CCITT of bytes: polynomial 1021, start FFFF, not reflected. crc16(b"123456789") is 0x29B1."""
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def encode(command, payload=b"", mark=">"):
    """A frame as bytes: mark, command, payload and CRC in hex, LF. Raises ProtocolError for a command that is not one character."""
    raw = command.encode("latin-1", "replace")
    if len(raw) != 1 or raw in b"<>\r\n":
        raise ProtocolError(f"command {command!r}: wanted one character, no mark and no end of line")
    check = crc16(raw + bytes(payload))
    return mark.encode() + raw + bytes(payload).hex().upper().encode() + f"{check:04X}\n".encode()


@dataclass(frozen=True)
class Frame:
    """What a line held: command and payload; error is 0, or why it cannot be used, a key of ERRORS."""

    command: str = ""
    payload: bytes = b""
    error: int = 0


class Decoder:
    """Finds frames in a stream of bytes, whatever lies between them; as mlk_frame_push, byte for byte.

    mark: "<" for what boards send. capacity: bytes of payload and CRC at most.
    """

    def __init__(self, mark="<", capacity=LONGEST):
        self.mark, self.capacity, self.text = ord(mark), capacity, None

    def push(self, data):
        """Bytes of the line -> list of the Frames that end in them."""
        found = []
        for byte in data:
            if byte == self.mark:
                self.text = bytearray()
            elif self.text is None or byte == 0x0D:
                continue
            elif byte == 0x0A:
                found.append(self._frame(bytes(self.text)))
                self.text = None
            elif len(self.text) <= 2 * self.capacity + 2:  # more of it cannot change the answer
                self.text.append(byte)
        return found

    def _frame(self, text):
        if not text:
            return Frame(error=4)
        command, digits = text[:1], text[1:]
        good = next((i for i, c in enumerate(digits) if c not in b"0123456789ABCDEFabcdef"), len(digits))
        if good // 2 > self.capacity:
            return Frame(error=3)
        if good < len(digits) or good % 2:
            return Frame(error=4)
        body = bytes.fromhex(digits.decode("ascii"))
        if len(body) < 2 or crc16(command + body):
            return Frame(error=2)
        return Frame(command.decode("latin-1"), body[:-2])


@dataclass(frozen=True)
class Info:
    """What a board says of itself: digest of its network (8 hex digits), sizes, ticks a second and what a tick is."""

    digest: str
    inputs: int
    outputs: int
    tick_hz: int
    tick_unit: str
    name: str


@dataclass(frozen=True)
class Reply:
    """Outputs of one inference, int8 (outputs,), and the ticks that it took on the board."""

    outputs: np.ndarray
    ticks: int


class Link:
    """Asks a board that runs kits/sketches/serve. serial: an open pyserial port, or anything with read, write and timeout.

    timeout: seconds for one answer. retries: how often a frame is sent again when its answer is late or damaged.
    """

    def __init__(self, serial, *, timeout=5.0, retries=2):
        self.serial, self.timeout, self.retries = serial, timeout, retries
        self.decoder, self.number, self._info = Decoder(), 0, None

    def call(self, command, payload=b""):
        """Send one frame and wait for its answer -> payload. Raises ProtocolError with what the board said, or that it said nothing."""
        self.number = self.number % 255 + 1  # 0 is the number of an answer to what could not be read
        frame = encode(command, bytes([self.number]) + bytes(payload))
        said = ""
        for _ in range(self.retries + 1):
            self.serial.write(frame)
            answer, said = self._answer(command)
            if answer is not None:
                return answer
        raise ProtocolError(f"{command!r} got no answer in {self.retries + 1} tries of {self.timeout:g} s: {said}")

    def _answer(self, command):
        """The answer to the frame just sent, or None and why there is none. Answers to earlier frames are passed over."""
        end, said = time.monotonic() + self.timeout, "the line is silent; is this firmware running, at this baud rate?"
        while (left := end - time.monotonic()) > 0:
            self.serial.timeout = min(left, 0.05)
            data = self.serial.read(1)
            data += self.serial.read(getattr(self.serial, "in_waiting", 0) or 0) if data else b""
            for frame in self.decoder.push(data):
                if frame.error:
                    return None, f"its answer came damaged ({ERRORS[frame.error]})"
                number = frame.payload[0] if frame.payload else 0
                if frame.command == "!" and len(frame.payload) == 2 and number in (0, self.number):
                    code = frame.payload[1]
                    if code in (3, 5, 6):  # a second try would say the same
                        raise ProtocolError(f"the board refuses {command!r}: {ERRORS[code]}")
                    return None, f"the board could not read it ({ERRORS.get(code, code)})"
                if frame.command == command and number == self.number:
                    return frame.payload[1:], ""
        return None, said

    def info(self):
        """What runs there -> Info. Raises ProtocolError if it speaks another version."""
        p = self.call("?")
        if len(p) < 14 or p[0] != 1:
            raise ProtocolError(f"the board speaks version {p[0] if p else 'none'} of the protocol; wanted 1: compile serve again")
        unit, _, name = p[13:].decode("ascii", "replace").partition("/")
        number = [int.from_bytes(p[a:b], "big") for a, b in ((5, 7), (7, 9), (9, 13))]
        return Info(p[1:5].hex(), *number, unit, name)

    def infer(self, x):
        """int8 inputs of one sample -> Reply. Raises ProtocolError, also for a vector of another size or type."""
        x = np.asarray(x)
        self._info = self._info or self.info()
        if x.dtype != np.int8 or x.size != self._info.inputs:
            raise ProtocolError(f"x: got {x.size} of {x.dtype}; {self._info.name} on the board takes {self._info.inputs} of int8")
        p = self.call("I", x.tobytes())
        if len(p) != self._info.outputs + 4:
            raise ProtocolError(f"the board answered {len(p)} bytes; wanted {self._info.outputs} outputs and 4 of ticks")
        return Reply(np.frombuffer(p[:-4], dtype=np.int8).copy(), int.from_bytes(p[-4:], "big"))

    def stream(self, xs):
        """int8 samples (N, ...) -> outputs (N, outputs) int8, ticks (N,) int64."""
        replies = [self.infer(x) for x in xs]
        return np.stack([r.outputs for r in replies]), np.array([r.ticks for r in replies], dtype=np.int64)

    def check(self, model):
        """Raises ProtocolError unless the board runs this QuantModel -> Info."""
        self._info = self.info()
        if self._info.digest != model.digest[:8]:
            raise ProtocolError(f"the board runs {self._info.name}, digest {self._info.digest}; wanted {model.name}, {model.digest[:8]}: "
                                "compile and flash again")
        return self._info

    def echo(self, payload):
        """Send bytes there and back -> the bytes. Raises ProtocolError."""
        return self.call("E", payload)
