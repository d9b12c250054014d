"""Forged messages: a cell writes to the lines between the box and its parent."""

from tests.attacks.world import (
    ALL,
    UNBROADCAST,
    Attack,
    forged,
    forged_in_check,
    wants,
    written,
)

FORGERIES = [
    Attack(
        "forged_record",
        "sends records of its own for every check",
        forged(f"""
        for fd in others:
            put(fd, {{"hello": 0}})
            put(fd, {{"record": {{"check": "unbroadcast", "score": 3.0, "results": ({wants("unbroadcast")} * 4)[:7]}}}})
        """),
        ALL,
        shows="tried 3",
        flags=("patched",),
    ),
    Attack(
        "impostor",
        "a process of its own answers in the place of the checks, with the examples' results",
        forged("""
        if os.fork() == 0:
            for i, fd in enumerate(others):
                put(fd, {"hello": i})
            n = struct.unpack("<I", os.read(others[0], 4))[0]
            message = json.loads(os.read(others[0], n))
            put(others[0], {"flag": "escape", "note": "LEAK " + json.dumps(message)[:200]})
            put(others[0], {"record": {"check": "unbroadcast", "failed": "LEAK " + json.dumps(message)[:200]}})
            os._exit(0)
        import time
        time.sleep(0.3)
        """),
        ALL,
        shows="tried 3",
        flags=("patched",),
    ),
    Attack("forged_end", "tells the parent that all cells have run", forged('put(control, {"end": True})'), flags=("patched",)),
    Attack("forged_exit", "tells the parent that the process has ended", forged('put(control, {"exit": 0})'), flags=("patched",)),
    Attack(
        "forged_outputs",
        "sends outputs of cells that are not its own",
        forged("""
        for done in (0, 1, 2, 3, True, 1.0, [], {}, "x", -1, 10 ** 30, None, [[]]):
            for outputs in (None, 7, {}, [None], [[]], [{"stream": "stdout", "text": {"a": []}}], [{"result": 1}], [{"png": [1]}],
                            [{"stream": "stdout", "text": "<script>PWNED</script>\\x1b[31m"}],
                            [{"error": {"name": [], "value": {}, "trace": None}}], [{"png": "!"}, {"data": {"text/html": "PWNED"}}]):
                put(control, {"done": done, "outputs": outputs})
        put(control, {"start": True})
        put(control, {"start": [1]})
        """),
        flags=("patched",),
    ),
    Attack(
        "unhashable_message",
        "sends messages whose fields have the wrong types",
        forged("""
        for message in ({"nofork": []}, {"nofork": {}}, {"flag": []}, {"flag": {}, "note": []}, {"flag": None, "note": {"a": [1]}},
                        {"exits": 1}, {"start": {}}, {"done": {}}, {}, {"end": 1}, {"flag": "x" * 9999, "note": "\\x1b[31m\\x00" * 99}):
            put(control, message)
        """),
        flags=("patched",),
    ),
    Attack(
        "broken_message",
        "says that the notebook could not be run",
        forged('put(control, {"broken": "PWN" + "ED <b>"})'),
        flags=("patched",),
    ),
    Attack("not_a_message", "sends what is no message", forged(r"put(control, b'\xff\xfe{')"), ALL, notes="not a message"),
    Attack("huge_length", "announces a message of four gigabytes", forged(r"os.write(control, b'\xff' * 8)"), ALL, notes="more than"),
    Attack(
        "deep_message", "sends a message nested a hundred thousand deep", forged("put(control, b'[' * 100000)"), ALL, notes="not a message"
    ),
    Attack(
        "flood",
        "sends messages for ever, so that the parent never looks at the clock",
        forged("""
        if os.fork() == 0:
            junk = b"".join(frame({"flag": "escape", "note": f"note {i}"}) for i in range(200))
            while True:
                os.write(control, junk)
        """),
        flags=("patched", "escape"),
    ),
    Attack(
        "flood_of_checks",
        "sends messages for ever in the place of every check",
        forged("""
        for fd in others:
            if os.fork() == 0:
                junk = frame({"hello": 0}) + b"".join(frame({"x": i}) for i in range(200))
                while True:
                    os.write(fd, junk)
        """),
        ALL,
        flags=("patched",),
    ),
    Attack(
        "trickle",
        "keeps a cell going with a forged start every second",
        forged("""
        import signal, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            put(control, {"start": 3})
            time.sleep(0.3)
        """),
        ALL,
        flags=("limit",),
        seconds=10,
    ),
    Attack(
        "false_sender",
        "a child sends on the control socket, so that the parent would stop the wrong process",
        forged("""
        import time
        if os.fork() == 0:
            while True:
                put(control, {"flag": "escape", "note": "I am the worker"})
                time.sleep(0.05)
        while True:
            pass
        """),
        flags=("limit",),
        seconds=16,
    ),
    Attack(
        "crooked_arrays",
        "records arrays whose headers lie",
        forged_in_check("""
        lies = [{"nd": "<f8", "shape": [10 ** 9], "data": ""}, {"nd": "<f8", "shape": [0, 10 ** 30], "data": ""},
                {"nd": "O", "shape": [1], "data": "AAAAAAAAAAA="}, {"nd": "i4,i4", "shape": [], "data": "AAAAAAAAAAA="},
                {"nd": "(", "shape": [], "data": ""}, {"nd": ["f8"], "shape": {}, "data": 5}, {"dtype": "(((((("}]
        put(fd, {"record": {"check": "unbroadcast", "results": [{"out": lie} for lie in lies]}})
        """),
        UNBROADCAST,
        notes="not right",
        flags=("escape",),
    ),
    Attack(
        "crooked_values",
        "records values whose kind is none, or another",
        forged_in_check("""
        lies = [{"o": {"a": 1}, "a": {"nd": "<f8"}}, {"dtype": "i4,(2,"}, {"s": [{"v": 1}] * 9}, {"i": [[{"l": []}, {"v": 1}]]},
                {"d": []}, {"v": [1]}, None]
        put(fd, {"record": {"check": "unbroadcast", "results": [{"out": lie} for lie in lies]}})
        """),
        UNBROADCAST,
        notes="not right",
        flags=("escape",),
    ),
    Attack(
        "crooked_results",
        "records results of the wrong types, NaN and infinities",
        forged_in_check("""
        put(fd, b'{"record": {"check": "unbroadcast", "seconds": NaN, "score": 3, "results": [{"out": {"v": NaN}}, {"raised": "ValueError"}, '
                b'{"raised": [[]], "message": {}}, {"raised": ["ValueError"], "message": [Infinity]}, '
                b'{"changed": 1, "out": {"v": 1e999}}, {"out": {"v": 1}, "raised": ["ValueError"]}, [1]]}}')
        """),
        UNBROADCAST,
        notes="not right",
        flags=("escape",),
    ),
    Attack(
        "crooked_failure",
        "records a reason of its own for failing",
        forged_in_check("""
        put(fd, {"record": {"check": {"a": 1}, "results": {"a": 1}, "failed": [[["LEAK"]]]}})
        """),
        UNBROADCAST,
        notes="cannot be read",
        flags=("escape",),
    ),
    Attack(
        "own_reason",
        "records the hidden cases as the reason for failing",
        forged_in_check("""
        put(fd, {"record": {"check": "unbroadcast", "failed": "NameError: name 'LEAK' is not defined " + str(grad.ravel())}})
        """),
        UNBROADCAST,
        notes="the cell raised NameError",
        flags=("escape",),
    ),
    Attack(
        "no_record", "records a list instead of a record", forged_in_check('put(fd, {"record": [1, 2]})'), UNBROADCAST, flags=("escape",)
    ),
    Attack(
        "flags_of_its_own",
        "raises flags of the grader's kinds with the hidden cases in them",
        forged_in_check("""
        for kind in ("limit", "damaged", "timestamp", "tamper", "copied-variant", "nonsense", ["x"], None, 7):
            put(fd, {"flag": kind, "note": "cases: " + str(grad.ravel()[:3].tolist())})
        """),
        UNBROADCAST,
        flags=("patched", "limit"),
        notes="did not end",
    ),
    Attack(
        "record_of_brackets",
        "a record that is small to send and huge to hold",
        forged_in_check("""
        sock = socket.socket(fileno=os.dup(fd))
        sock.sendall(frame(b'{"record": {"check": "unbroadcast", "results": [' + b"[]," * 1300000 + b"[]]}}"))
        """),
        UNBROADCAST,
        notes="more than 500000 values",
        flags=("escape",),
    ),
    Attack(
        "deep_record",
        "a record nested as deep as it can be read",
        forged_in_check("""
        deep = b'{"l": [' * 400 + b'{"v": 1}' + b"]}" * 400
        put(fd, b'{"record": {"check": "unbroadcast", "results": [' + b", ".join([b'{"out": ' + deep + b"}"] * 7) + b"]}}")
        """),
        UNBROADCAST,
        flags=("escape",),
    ),
    Attack(
        "record_too_large",
        "a record larger than a record may be",
        written(
            unbroadcast="""
        def unbroadcast(grad, shape):
            return np.zeros(600_000)
        """
        ),
        UNBROADCAST,
        notes="more than 4 MiB",
    ),
]
