"""Tells the parent of attempts worth a look, from inside the box. It is advice, not the wall: the wall is the box.

Student code shares this process, so it could reach whatever Python can name. What the hook needs is therefore bound before
the first cell runs, and what one does on the way to silence it is told first.
"""

import _socket
import os
import sys
from _json import encode_basestring_ascii
from struct import pack

MAX_FLAGS = 30
_QUIET = ("import", "compile", "exec", "code.", "marshal.")
_FILES = {"open", "os.listdir", "os.scandir", "sqlite3.connect", "os.symlink", "os.link", "os.chdir", "os.truncate", "os.chmod",
          "os.rename"}
_NETWORK = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"}
_PROGRAMS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}
# Kernels are compiled: a compiler and what it makes stay in the same box. Cython asks Python's platform, and that asks uname.
_COMPILING = {f"/usr/bin/{name}" for name in ("cc", "gcc", "clang")} | {"uname"}
_SIGNALS = {"os.kill", "signal.pthread_kill", "os.killpg"}
_INSIDE = {"sys._getframe", "sys._current_frames", "sys.settrace", "sys.setprofile", "gc.get_objects", "gc.get_referrers",
           "gc.get_referents", "os.fork", "os.forkpty", "ctypes.dlsym", "ctypes.dlopen"}
_FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame"}
_CELLS = ("<cell ", "<graded cell", "<check cell", "<ipython-input", "/tmp/ipykernel_")
_WATCHED = ("/etc/shadow/", "/etc/passwd/", "/proc/self/mem/", "/proc/self/fd/", "/proc/self/environ/", "/proc/self/root/",
            "/proc/self/cwd/")


class Watch:
    """An audit hook and the line on which it tells. `flag(kind, note)` tells of something else."""

    def __init__(self, channel):
        fine = tuple(p + "/" for p in (
            sys.base_prefix, sys.prefix, "/usr", "/lib", "/lib64", "/tmp", "/submission", "/course/lib", "/proc/self", "/proc/sys",
            "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/dev", "/sys/devices/system", "/sys/fs/cgroup", "/etc",
            *(p for p in sys.path if p)))
        line, seen, busy = [channel], set(), [False]
        sendall, frame, fsdecode, abspath = _socket.socket.sendall, sys._getframe, os.fsdecode, os.path.abspath
        kinds = bytes, str, OSError, RecursionError
        length, text, kind_of = len, str, isinstance
        compiling = frozenset(_COMPILING)

        def flag(kind, note):
            if note in seen or length(seen) >= MAX_FLAGS:
                return
            seen.add(note)
            data = b'{"flag": %s, "note": %s}' % (encode_basestring_ascii(kind).encode(), encode_basestring_ascii(note[:300]).encode())
            try:
                sendall(line[0], pack("<I", length(data)) + data)
            except kinds[2]:
                busy[0] = True

        def by_a_cell(depth):
            """Did a cell's own code do it, or what it called directly?"""
            f = frame(3)
            while f is not None and depth:
                if f.f_code.co_filename.startswith(_CELLS):
                    return True
                f, depth = f.f_back, depth - 1
            return False

        def look(event, args):
            if event in _FILES:
                path = fsdecode(args[0]) if kind_of(args[0], kinds[0]) else args[0]
                if kind_of(path, kinds[1]):
                    full = abspath(path) + "/"
                    if not full.startswith(fine) and full != "//" or full.startswith(_WATCHED):
                        flag("escape", f"tried to reach {full[:-1]} ({event})")
            elif event in _NETWORK:
                flag("escape", f"tried the network: {event} {args[1:]}")
            elif event == "socket.getaddrinfo":
                flag("escape", f"tried the network: {event} {args[:2]}")
            elif event in _PROGRAMS:
                if event == "subprocess.Popen" and kind_of(args[0], kinds[1]) and args[0] in compiling:
                    return
                flag("escape", f"started a program: {event} {text(args[0])[:120]}")
            elif event in _SIGNALS:
                flag("escape", f"sent a signal: {event} {args}")
            elif event == "sys.addaudithook":
                flag("patched", "added an audit hook")
            elif event == "os.putenv" and args[0] == b"MLSYS_STUDENT":
                flag("identity", f"set MLSYS_STUDENT to {fsdecode(args[1])[:60]}")
            elif event in _INSIDE and by_a_cell(2 if event[:6] == "ctypes" else 1):
                flag("patched", f"used {event} {text(args[1])[:40] if event == 'ctypes.dlsym' else ''}".strip())
            elif event == "object.__getattr__" and args[1] in _FRAMES and by_a_cell(1):
                flag("patched", f"reached for {args[1]}")

        def hook(event, args):
            if busy[0] or event.startswith(_QUIET):
                return
            busy[0] = True
            try:
                look(event, args)
            except kinds[3]:
                pass                    # a cell at the end of its stack; what it does next is seen
            finally:
                busy[0] = False

        def move(channel):
            """From now on, tell on another line, and tell all anew."""
            line[0].close()
            line[0] = channel
            seen.clear()

        self.flag, self.hook, self.move = flag, hook, move


def fingerprints():
    """Identity of what student code has no business replacing."""
    names = ["builtins", "json", "numpy", "mlsysbook", "mlsysbook.answers", "mlsysbook.answers.check", "mlsysbook.answers.record",
             "mlsysbook.answers.compare", "mlsysbook.answers.mode", "mlsysbook.answers.predict", "mlsysbook.answers.answer",
             "mlsysbook.answers.identity", "mlsysim.units"]
    kept = {(m, k): id(v) for m in names if m in sys.modules for k, v in vars(sys.modules[m]).items()
            if callable(v) and not k.startswith("__") or k == "handler" or type(v) is type(sys)}
    return kept | {("sys.modules", m): id(sys.modules[m]) for m in names if m in sys.modules}


def patched(before):
    """Names of what has been replaced since."""
    for (m, k), was in before.items():
        now = sys.modules.get(k) if m == "sys.modules" else getattr(sys.modules.get(m), k, None)
        if id(now) != was:
            yield f"{m}.{k}"
