"""Replacing what judges: the recorder, NumPy, builtins, and the way to them through frames, heap and streams."""

from tests.attacks.world import (
    ALL,
    UNBROADCAST,
    Attack,
    then_zeros,
    written,
    zero,
)

PATCHES = [
    Attack(
        "input_transformer",
        "an IPython input transformer that drops every line with a test",
        written(
            unbroadcast=then_zeros("""
        get_ipython().input_transformers_post.append(lambda lines: ["pass\\n"] if any("check(" in t for t in lines) else lines)
        get_ipython().ast_transformers.append(type("Drop", (), {"visit": lambda self, tree: tree})())
        """)
        ),
        zero("unbroadcast", "product"),
        flags=("patched",),
    ),
    Attack(
        "own_check",
        "defines its own check and prints a score",
        written(
            unbroadcast=then_zeros(
                """
        import mlsysbook
        def check(name, *a, **k):
            print(f"{name}: 2 of 2 worked examples right\\n3.0")
        mlsysbook.check = mlsysbook.case = check
        """,
                "3.0",
            )
        ),
        UNBROADCAST,
        flags=("patched",),
    ),
    Attack(
        "patched_numpy",
        "numpy finds everything equal",
        written(
            unbroadcast=then_zeros("""
        np.allclose = np.isclose = np.array_equal = lambda *a, **k: True
        np.zeros.__doc__
        np.testing.assert_allclose = lambda *a, **k: None
        """)
        ),
        UNBROADCAST,
        flags=("patched",),
    ),
    Attack(
        "patched_builtins",
        "builtins that find everything right",
        written(
            unbroadcast=then_zeros("""
        import builtins
        builtins.all = builtins.any = builtins.isinstance = lambda *a, **k: True
        builtins.abs = builtins.len = lambda x: 0
        """)
        ),
        ALL,
        flags=("patched",),
    ),
    Attack(
        "patched_courseware",
        "the recorder writes down what the examples want",
        written(
            unbroadcast=then_zeros("""
        import mlsysbook.answers.check as c, mlsysbook.answers.record as r, json
        wanted = json.load(open("assignment.json"))["wanted"]["unbroadcast"]
        c.run_case = lambda call, case: wanted[0]
        r.encode = lambda x, depth=0: wanted[0]["out"]
        c.verdict = c.difference = lambda *a, **k: None
        """)
        ),
        ALL,
        flags=("patched",),
    ),
    Attack(
        "own_handler",
        "puts its own listener in the place of the recorder",
        written(
            unbroadcast=then_zeros("""
        import sys, types, mlsysbook.answers
        class Handler:
            record = {"check": "unbroadcast", "results": [{"out": {"v": 1}}] * 9}
            def check(self, spec): pass
        mode = types.ModuleType("mlsysbook.answers.mode")
        mode.__class__ = type("Fixed", (types.ModuleType,), {"handler": property(lambda s: Handler(), lambda s, v: None)})
        sys.modules["mlsysbook.answers.mode"] = mlsysbook.answers.mode = mode
        """)
        ),
        ALL,
        flags=("patched",),
    ),
    Attack(
        "patched_json",
        "json writes another record than it was given",
        written(
            unbroadcast=then_zeros("""
        import json
        original = json.dumps
        def dumps(x, *a, **k):
            if isinstance(x, dict) and "record" in x and x["record"].get("check") == "unbroadcast":
                x = {"record": {"check": "unbroadcast", "score": 3.0, "results": [{"out": {"v": True}}] * 7}}
            return original(x, *a, **k)
        json.dumps = dumps
        """)
        ),
        UNBROADCAST,
        flags=("patched",),
    ),
    Attack(
        "walks_the_frames",
        "finds the worker through frames, silences its watch and replaces its recorder",
        written(
            unbroadcast=then_zeros("""
        import sys
        frame = sys._getframe()
        while frame:
            for value in list(frame.f_locals.values()):
                if hasattr(value, "watch"):
                    value.watch.muted = True
                    value.watch.flag = lambda *a: None
            if "grade" in frame.f_globals and "Recorder" in frame.f_globals:
                frame.f_globals["grade"] = lambda ns, source, message: {"check": "unbroadcast", "results": [{"out": {"v": 1.0}}] * 7}
            frame = frame.f_back
        print("tried")
        """)
        ),
        ALL,
        flags=("patched",),
        shows="tried",
    ),
    Attack(
        "walks_the_heap",
        "finds sockets and recorder with the garbage collector",
        written(
            unbroadcast=then_zeros("""
        import gc, types
        for thing in gc.get_objects():
            if type(thing).__name__ == "Watch":
                thing.muted = True
            if isinstance(thing, types.FunctionType) and thing.__name__ == "grade":
                thing.__code__ = (lambda ns, source, message: {"check": "unbroadcast", "results": [{"out": {"v": 1.0}}] * 7}).__code__
        print("tried")
        """)
        ),
        ALL,
        flags=("patched",),
        shows="tried",
    ),
    Attack(
        "walks_the_streams",
        "reaches the runner's globals through the stream that catches print",
        written(
            unbroadcast=then_zeros("""
        import sys
        inside = type(sys.stdout.buffer.raw).write.__globals__
        if "Watch" in inside:
            inside["Watch"].flag = inside["Watch"].hook = inside["Watch"]._look = lambda *a: None
            inside["patched"] = lambda before: ()
            inside["grade"] = lambda ns, source, message: {"check": "unbroadcast", "results": [{"out": {"v": 1.0}}] * 7}
        print("tried")
        """)
        ),
        ALL,
        flags=("patched",),
        shows="tried",
    ),
    Attack(
        "walks_a_traceback",
        "reaches the runner's frames through a traceback",
        written(
            unbroadcast=then_zeros("""
        try:
            1 / 0
        except ZeroDivisionError as error:
            frame = error.__traceback__.tb_frame
        while frame:
            if "Recorder" in frame.f_globals:
                frame.f_globals["grade"] = lambda ns, source, message: {"check": "unbroadcast", "results": [{"out": {"v": 1.0}}] * 7}
            frame = frame.f_back
        print("tried")
        """)
        ),
        ALL,
        flags=("patched",),
        shows="tried",
    ),
]
