"""The line out of the box: whole messages, each with its sender, and nothing without a bound."""

import json
import os
import struct
import time

import pytest

from mlsysbook.box import channel
from mlsysbook.box.channel import Channel, Closed


def framed(message):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack("<I", len(data)) + data


@pytest.fixture
def line():
    made = Channel(limit=1 << 20)
    yield made
    made.close()


def child(run):
    """Run in a process of its own -> its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(0)
    return pid


def soon(seconds=60.0):
    return time.monotonic() + seconds


def test_a_message_comes_with_the_pid_of_its_sender(line):
    pid = child(lambda: line.theirs.sendall(framed({"a": 1})))
    assert line.receive(soon()) == (pid, {"a": 1})
    line.theirs.sendall(framed({"b": 2}))
    assert line.receive(soon()) == (os.getpid(), {"b": 2})
    os.waitpid(pid, 0)


def test_two_senders_that_interrupt_each_other_are_both_understood(line):
    first, second = framed({"who": "parent"}), framed({"who": "child"})
    line.theirs.sendall(first[:9])
    pid = child(lambda: line.theirs.sendall(second))
    os.waitpid(pid, 0)
    line.theirs.sendall(first[9:])
    assert sorted([line.receive(soon()), line.receive(soon())]) == sorted([(pid, {"who": "child"}), (os.getpid(), {"who": "parent"})])


@pytest.mark.parametrize(("data", "why"), [
    (b"\xff\xff\xff\xff", "more than 1 MiB"), (framed(b"nonsense"), "not a message"), (framed(b"[1]"), "not a message"),
    (framed(b"[" * 100_000), "not a message"), (framed(b'{"a": ' + b"9" * 5000 + b"}"), "not a message"), (framed(b"\xff"), "not a message"),
    (framed(b'{"a": [' + b"[]," * 260_000 + b"[]]}"), "values"),
])
def test_rubbish_spoils_its_sender_and_nobody_else(line, data, why):
    pid = child(lambda: line.theirs.sendall(data + framed({"too": "late"})))
    who, message = line.receive(soon())
    assert who == pid and why in message["spoilt"]
    assert line.receive(time.monotonic() + 0.05) is None        # what it says after that is not heard
    os.waitpid(pid, 0)
    line.theirs.sendall(framed({"fine": True}))
    assert line.receive(soon()) == (os.getpid(), {"fine": True})
    assert line.receive(time.monotonic()) is None


def test_nothing_to_hear_is_none_at_the_deadline(line):
    begun = time.monotonic()
    assert line.receive(begun + 0.1) is None
    assert 0.09 < time.monotonic() - begun < 30


def test_an_end_that_was_closed_is_told_after_what_it_sent(line):
    line.theirs.sendall(framed({"last": 1}))
    line.started()
    assert line.receive(soon())[1] == {"last": 1}
    with pytest.raises(Closed, match="ended"):
        line.receive(soon())


def test_a_flood_ends_the_line(line, monkeypatch):
    monkeypatch.setattr(channel, "MESSAGES", 50)
    line.left = 50
    line.theirs.sendall(framed({}) * 60)
    with pytest.raises(Closed, match="50 messages"):
        for _ in range(60):
            line.receive(soon())


def test_so_do_too_many_bytes(line):
    line.bytes = 1000
    line.theirs.sendall(b"\0" * 2000)
    with pytest.raises(Closed, match="MiB"):
        line.receive(soon())


def test_more_senders_than_a_box_has_processes_are_not_kept(line, monkeypatch):
    monkeypatch.setattr(channel, "SENDERS", 2)
    for _ in range(4):
        os.waitpid(child(lambda: line.theirs.sendall(framed({})[:3])), 0)
    line.receive(time.monotonic() + 0.05)
    for _ in range(4):
        line.receive(time.monotonic() + 0.05)
    assert len(line.parts) == 2


def test_a_send_that_nobody_takes_is_given_up(line):
    with pytest.raises(Closed):
        line.send({"x": "y" * 10_000_000}, time.monotonic() + 0.1)
