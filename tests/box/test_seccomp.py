"""The system call filter, run by an interpreter of its own: what it lets pass and what it refuses, on both machines."""

import ctypes
import errno
import os
import struct
import subprocess
import sys

import pytest

from mlsysbook.box import seccomp

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# read, write, openat, mmap, clone, execve, futex, socket, exit_group, clock_gettime
ORDINARY = {"x86_64": (0, 1, 257, 9, 59, 202, 41, 231, 228), "aarch64": (63, 64, 56, 222, 221, 98, 198, 94, 113)}
CLONE = {"x86_64": 56, "aarch64": 220}


def run(program, number, arch, argument=0):
    """Interpret classic BPF over one struct seccomp_data -> what it returns."""
    data = struct.pack("<IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    code = [struct.unpack_from("<HBBI", program, i) for i in range(0, len(program), 8)]
    at, a = 0, 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:
            a = struct.unpack_from("<I", data, k)[0]
        elif op == 0x06:
            return k
        else:
            at += yes if {0x15: a == k, 0x35: a >= k, 0x45: bool(a & k)}[op] else no


@pytest.mark.parametrize("machine", ARCH)
def test_ordinary_work_passes(machine):
    program = seccomp.program(machine)
    assert {run(program, n, ARCH[machine]) for n in ORDINARY[machine]} == {ALLOW}
    assert run(program, CLONE[machine], ARCH[machine], 0x01200011) == ALLOW         # fork, as the C library does it
    assert run(program, CLONE[machine], ARCH[machine], 0x003D0F00) == ALLOW         # a thread


@pytest.mark.parametrize("machine", ARCH)
def test_every_listed_call_is_refused(machine):
    program, column = seccomp.program(machine), list(ARCH).index(machine)
    listed = [n[column] for n in seccomp._REFUSED.values() if n[column] is not None]
    assert len(listed) > 40 and {run(program, n, ARCH[machine]) for n in listed} == {EPERM}


@pytest.mark.parametrize("machine", ARCH)
@pytest.mark.parametrize("flag", [0x10000000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000, 0x00020000])
def test_a_new_namespace_is_refused(machine, flag):
    assert run(seccomp.program(machine), CLONE[machine], ARCH[machine], flag | 17) == EPERM


def test_other_doors_to_the_same_calls_are_closed():
    program = seccomp.program("x86_64")
    assert run(program, 0x40000000 + 1, ARCH["x86_64"]) == EPERM                    # x32
    assert run(program, 1, 0x40000003) == EPERM                                     # 32 bits
    assert run(program, 435, ARCH["x86_64"]) == ENOSYS                              # clone3


def test_an_unknown_machine_has_no_filter():
    assert seccomp.program("pdp11") is None


@pytest.mark.skipif(seccomp.program() is None, reason="no filter for this machine")
def test_the_kernel_takes_it_and_refuses_as_it_says():
    """Numbers in a table can be wrong for a kernel: ask it, through the C library's own names."""
    ask = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
program = {seccomp.program()!r}
class Program(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("code", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0, ctypes.get_errno()
def refused(do):
    ctypes.set_errno(0)
    try:
        return do() == -1 and ctypes.get_errno() == 1
    except PermissionError:
        return True
print([name for name, do in {{
    "unshare": lambda: libc.unshare(0x10000000), "mount": lambda: libc.mount(b"a", b"/tmp", b"tmpfs", 0, None), "ptrace": lambda: libc.ptrace(0, 0, 0, 0),
    "memfd": lambda: os.memfd_create("x"), "shmget": lambda: libc.shmget(0, 4096, 0o1600), "mknod": lambda: os.mkfifo("/tmp/never"),
    "chroot": lambda: os.chroot("/"), "keyctl": lambda: libc.syscall(250 if os.uname().machine == "x86_64" else 219, 0, 0, 0, 0, 0),
}}.items() if not refused(do)])
import threading
t = threading.Thread(target=lambda: None); t.start(); t.join()
pid = os.fork()
if pid == 0: os._exit(7)
print(os.waitpid(pid, 0)[1] >> 8)
"""
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["[]", "7"], done.stdout + done.stderr
    assert ctypes.sizeof(ctypes.c_void_p) == 8 and not os.path.exists("/tmp/never")
