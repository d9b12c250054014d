"""Reading what is not theirs, and getting hidden cases out through what feedback shows."""

from tests.attacks.world import (
    ALL,
    UNBROADCAST,
    Attack,
    written,
    zero,
)

READS = [
    Attack(
        "reads_the_host",
        "opens files of the host, directly and through /proc",
        written(
            before="""
        import glob, os
        places = ["@CLASS@/gradebook.db", "@CLASS@/.mlsys/secret", "@TMP@", "@HOME@"]
        for root in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/self/cwd/../.."):
            for place in places + glob.glob(root + "/root/*") + glob.glob(root + "/home/*"):
                try:
                    print("PWNED", root + place, open(root + place, "rb").read(40))
                except OSError:
                    pass
        print("tried", sorted(os.listdir("/")), sorted(os.listdir("/tmp")), len(os.environ))
        """
        ),
        flags=("escape",),
        shows=r"tried \['bin'",
    ),
    Attack(
        "reads_the_solution",
        "imports the reference, the later modules and the sources of the course",
        written(
            unbroadcast="""
        import os, sys
        def look():
            for folder in ("@COURSE@", "/course", "/submission", *sys.path):
                for here, folders, files in os.walk(folder):
                    folders[:] = [f for f in folders if here.count("/") < 6 and f not in ("numpy", "site-packages")]
                    for name in files:
                        if name.endswith((".py", ".ipynb", ".json")) and "numpy" not in here:
                            try:
                                text = open(os.path.join(here, name), errors="replace").read(200000)
                            except OSError:
                                continue
                            if "widened = tuple(" in text or "widens or created" in text or "def cases(rng)" in text:
                                print("PWNED", here, name)
        look()
        try:
            from tinytorch.tensor import unbroadcast
            print("PWNED")
        except ImportError as error:
            print("tried", error)
        """
        ),
        UNBROADCAST,
        shows="tried",
        flags=("escape",),
    ),
    Attack(
        "reads_the_answers",
        "asks the courseware for keys, references and later grading code",
        written(
            unbroadcast="""
        import importlib
        for name in ("mlsysbook.grading", "mlsysbook.build", "mlsysbook.catalogue", "mlsysbook.box.session", "mlsysbook.box.command",
                     "modules.tinytorch.t_unbroadcast.t_unbroadcast", "source", "tinytorch.tensor", "staffml.templates", "mlsysbook.cli",
                     "mlsysbook.hub"):
            try:
                importlib.import_module(name)
                print("PWNED", name)
            except ImportError:
                print("tried", name)
        """
        ),
        zero("unbroadcast", "product"),
        shows="tried mlsysbook.build",
    ),
    Attack(
        "keeps_hidden_cases",
        "writes the hidden cases down and returns constants",
        written(
            unbroadcast="""
        import json, os
        seen = []
        def unbroadcast(grad, shape):
            seen.append((grad.tolist(), list(shape)))
            open("/submission/seen.json", "w").write(json.dumps(seen))
            print("PWNED", seen)
            return np.ones(shape)
        """
        ),
        UNBROADCAST,
    ),
    Attack(
        "leaks_hidden_cases",
        "puts the hidden cases into errors, names and texts that the feedback might show",
        written(
            unbroadcast="""
        seen = []
        def unbroadcast(grad, shape):
            seen.append(f"LEAK {grad.ravel()[:3].tolist()}")
            raise type("LEAK" + "".join(c for c in str(grad.ravel()[:2]) if c.isalnum()), (Exception,), {})(" ".join(seen))
        """,
            running="""
        class Running:
            seen = []
            def push(self, x): Running.seen.append(f"LEAK {x}")
            def numpy(self): return self
            def __getattr__(self, name): raise SystemExit("LEAK" + str(Running.seen))
        """,
            product="""
        def product(a, b):
            return f"LEAK {a.ravel()[:3].tolist()}"
        """,
        ),
        ALL,
    ),
    Attack(
        "leaks_by_failing",
        "makes the check itself fail with the hidden cases as the reason",
        written(
            unbroadcast="""
        seen = []
        class Reason(BaseException):
            def __str__(self):
                seen.append(1)
                if len(seen) < 2:
                    raise self
                return "LEAK " + str(hidden)
        hidden = []
        def unbroadcast(grad, shape):
            hidden.append(grad.ravel()[:3].tolist())
            raise Reason()
        """
        ),
        UNBROADCAST,
    ),
    Attack(
        "reads_other_memory",
        "reads the memory of every process it can see",
        written(
            after="""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        for pid in [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]:
            for name in ("mem", "environ", "maps"):
                try:
                    text = open(f"/proc/{pid}/{name}", "rb").read(200000)
                    if b"MLSYS_SECRET" in text or b"@SECRET@" in text:
                        print("PWNED", pid, name)
                except OSError:
                    pass
            if libc.ptrace(16, int(pid), 0, 0) == 0:
                libc.ptrace(17, int(pid), 0, 0)
        print("tried")
        """
        ),
        shows="tried",
        flags=("escape",),
    ),
]
