"""Time, memory, processes and disk; ways to end, and ways not to."""

from tests.attacks.world import (
    ALL,
    UNBROADCAST,
    Attack,
    written,
    zero,
)

RESOURCES = [
    Attack(
        "fork_bomb",
        "forks without end",
        written(
            after="""
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """
        ),
        flags=("limit",),
    ),
    Attack(
        "memory_hog",
        "touches more memory than there may be, in many processes",
        written(
            unbroadcast="""
        import os
        def unbroadcast(grad, shape):
            for i in range(6):
                if os.fork() == 0:
                    hold = []
                    while True:
                        hold.append(bytearray(b"x" * 4_000_000))
            while True:
                try:
                    os.wait()
                except OSError:
                    return np.zeros(shape)
        """
        ),
        UNBROADCAST,
        flags=("limit", "patched"),
    ),
    Attack(
        "disk_hog",
        "fills every place that can be written",
        written(
            before="""
        import os
        block = b"x" * 1_000_000
        written = {}
        for folder in ("/submission", "/tmp", "/dev/shm", "/dev", "/", "/course", "/run", "/var/tmp", "@HOME@"):
            written[folder] = 0
            try:
                for i in range(600):
                    with open(f"{folder}/f{i}", "wb") as f:
                        f.write(block)
                    written[folder] += 1
            except OSError:
                pass
        if max(written.values()) > 40:
            print("PWNED", written)
        for folder in written:
            for i in range(600):
                try:
                    os.unlink(f"{folder}/f{i}")
                except OSError:
                    pass
        print("tried", written)
        """
        ),
        shows="tried",
    ),
    Attack(
        "hidden_memory",
        "keeps memory where no process shows it",
        written(
            before="""
        import os
        kept, total = [], 0
        try:
            for i in range(400):
                fd = os.memfd_create(f"m{i}")
                for j in range(3):
                    total += os.write(fd, b"x" * 1_000_000)
                kept.append(fd)
        except OSError as error:
            print("stopped", error)
        if total > 450_000_000:
            print("PWNED", total)
        print("tried", total)
        """
        ),
        flags=("escape",),
        shows="stopped",
    ),
    Attack(
        "stubborn_loop",
        "a function that loops and catches everything",
        written(
            unbroadcast="""
        import signal
        def unbroadcast(grad, shape):
            for s in range(1, 65):
                try:
                    signal.signal(s, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            while True:
                try:
                    while True:
                        pass
                except BaseException:
                    pass
        """
        ),
        UNBROADCAST,
        flags=("limit",),
        notes="did not end within",
    ),
    Attack(
        "stubborn_cell",
        "an ordinary cell that loops and ignores every signal",
        written(
            after="""
        import signal
        for s in range(1, 65):
            try:
                signal.signal(s, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
        """
        ),
        flags=("limit",),
    ),
    Attack(
        "sleeping_check",
        "a function that sleeps",
        written(
            unbroadcast="""
        import time
        def unbroadcast(grad, shape):
            time.sleep(1000)
        """
        ),
        UNBROADCAST,
        flags=("limit",),
        notes="did not end within",
    ),
    Attack(
        "slow_everything",
        "every cell takes nearly all the time that it may",
        written(
            before="import time\ntime.sleep(1.2)",
            after="time.sleep(1.2)",
            unbroadcast="time.sleep(1.2)\ndef unbroadcast(grad, shape):\n    time.sleep(9)",
            product="time.sleep(1.2)\ndef product(a, b):\n    time.sleep(9)",
            running="time.sleep(1.2)\nclass Running:\n    def __init__(self): time.sleep(9)",
        ),
        ALL,
        flags=("limit",),
        seconds=18,
    ),
    Attack("exits_at_once", "ends the process in an ordinary cell", written(after="import os\nos._exit(0)"), flags=("limit",)),
    Attack(
        "exits_politely",
        "sys.exit, quit and KeyboardInterrupt in ordinary cells",
        written(before="import sys\nsys.exit(0)", after="raise KeyboardInterrupt"),
        loud=False,
    ),
    Attack(
        "exits_in_a_check",
        "ends the process while it is tested",
        written(unbroadcast="import os\ndef unbroadcast(grad, shape):\n    os._exit(0)"),
        UNBROADCAST,
        notes="stopped",
    ),
    Attack(
        "kills_its_parents",
        "kills its parent and every process it can see",
        written(
            after="""
        import os, signal
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(-1, signal.SIGKILL)
        """
        ),
        ALL,
        notes=".",
    ),
    Attack(
        "segfault",
        "writes to address zero in a check",
        written(
            unbroadcast="""
        import ctypes
        def unbroadcast(grad, shape):
            ctypes.string_at(0)
        """
        ),
        zero("unbroadcast", "product"),
        notes="stopped",
        flags=("patched",),
    ),
    Attack(
        "survivor",
        "leaves a daemon behind that writes later",
        written(
            before="""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv("/bin/sleep", ["mlsys-survivor-@PORT@", "30"])
            os._exit(0)
        print("tried")
        """
        ),
        shows="tried",
        flags=("patched", "escape"),
    ),
    Attack(
        "too_many_threads",
        "starts threads until none can be started",
        written(
            after="""
        import threading, time
        made = 0
        try:
            for i in range(10_000):
                threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
                made += 1
        except RuntimeError:
            pass
        print("made", made)
        """
        ),
        loud=False,
    ),
]
