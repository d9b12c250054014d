"""Who one is: variants, predictions and answers that belong to somebody else, or to nobody."""

from tests.attacks.world import (
    DRILL,
    Attack,
    log,
    written,
    zero,
)

_VALUE = "2 * v['layers'] * v['heads'] * 128 * 2 * 4096"
_NEIGHBOUR = """
        import os, json
        os.environ["MLSYS_STUDENT"] = os.environ["USER"] = os.environ["JUPYTERHUB_USER"] = "neighbour"
        from mlsysbook.answers.identity import pick, sidecar
        s = sidecar()
        v = s["variants"][pick(s["course"], s["assignment"], "neighbour", len(s["variants"]))]
"""


def _neighbours_log(folder, world, name):
    written(DRILL)(folder, world, name)
    (folder / "predictions.jsonl").unlink()
    log(folder, world, "neighbour")


def _edited_log(edit):
    def write(folder, world, name):
        written(DRILL)(folder, world, name)
        path = folder / "predictions.jsonl"
        data = edit(path.read_text())
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def _claims(nb):
    nb["metadata"] |= {"student": "victim", "nbgrader": {"student": "victim"}, "mlsys": {"fate": "graded", "student": "victim"}}
    for c in nb["cells"]:
        about = c["metadata"].get("nbgrader")
        if about and about.get("grade"):
            about |= {"points": 1000, "locked": False, "grade": True}
            c["source"] = "print('3.0')\n3.0" if c["cell_type"] == "code" else c["source"]
            c["outputs"] = (
                [{"output_type": "execute_result", "data": {"text/plain": "1000.0"}, "metadata": {}, "execution_count": 1}]
                if c["cell_type"] == "code"
                else []
            )


IDENTITIES = [
    Attack(
        "neighbours_variant",
        "hands in the numbers of a neighbour",
        written(DRILL, cache=_NEIGHBOUR + f"        cache = str({_VALUE}) + ' B'", step=f"step = str({_VALUE} / v['bandwidth']) + ' s'"),
        zero("cache", "step"),
        DRILL,
        flags=("copied-variant", "identity"),
    ),
    Attack(
        "typed_off",
        "types a neighbour's number as a literal",
        lambda folder, world, name: written(DRILL, cache=f'cache = "{world.places["NEIGHBOURS_CACHE"]} B"')(folder, world, name),
        zero("cache"),
        DRILL,
        flags=("copied-variant",),
        notes="neighbour",
    ),
    Attack(
        "false_name", "says in the metadata that it is another student, and raises its points", written(change=_claims), flags=("tamper",)
    ),
    Attack("neighbours_predictions", "hands in a neighbour's log of predictions", _neighbours_log, zero("rtt"), DRILL, flags=("tamper",)),
    Attack(
        "edited_predictions",
        "edits a locked prediction",
        _edited_log(lambda t: t.replace("27 ms", "31 ms")),
        zero("rtt"),
        DRILL,
        flags=("tamper",),
    ),
    Attack(
        "deep_predictions",
        "a log whose line is nested without end",
        _edited_log(lambda t: "[" * 100_000 + "\n" + t),
        zero("rtt"),
        DRILL,
        flags=("tamper",),
    ),
    Attack(
        "huge_number_in_log",
        "a log with a time beyond every float",
        _edited_log(lambda t: t.replace('"at": ', '"at": 9' + "9" * 400)),
        zero("rtt"),
        DRILL,
        flags=("tamper",),
    ),
    Attack(
        "binary_predictions", "a log that is no text", _edited_log(lambda t: b"\xff\xfe\x00" * 999), zero("rtt"), DRILL, flags=("tamper",)
    ),
    Attack("empty_predictions", "an empty log", _edited_log(lambda t: ""), zero("rtt"), DRILL, notes="no prediction"),
    Attack("predicted_in_the_box", "locks its prediction while it is graded", _edited_log(lambda t: ""), zero("rtt"), DRILL),
    Attack(
        "absurd_numbers",
        "answers that would take for ever to read",
        written(DRILL, cache="cache = '1e' + '9' * 100 + ' B'", step="step = 10 ** 100000"),
        zero("cache", "step"),
        DRILL,
    ),
    Attack(
        "absurd_units",
        "answers in units without end",
        written(DRILL, cache="cache = '1 ' + '*'.join(['GB^3'] * 20)", step="step = '１２ ms'"),
        zero("cache", "step"),
        DRILL,
    ),
    Attack(
        "answer_that_lies",
        "an answer that is a string of its own kind",
        written(
            DRILL,
            cache="""
        class Text(str):
            def __eq__(self, other): return True
            __hash__ = str.__hash__
            def strip(self, *a): return Text("1 B")
        cache = Text("1 B")
        """,
            step="step = float('nan')",
        ),
        zero("cache", "step"),
        DRILL,
    ),
    Attack(
        "negative_answer",
        "a number on the other side of zero, infinite or hexadecimal",
        written(DRILL, cache="cache = '-inf B'", step="step = '0x10 s'"),
        zero("cache", "step"),
        DRILL,
    ),
]
