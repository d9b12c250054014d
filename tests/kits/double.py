"""A stand-in for arduino-cli, for its arguments, its three ways of failing and its silence: it compiles nothing.

`double(folder, answers)` writes a program that looks up its first two arguments in answers, prints what it finds there, makes the
files it is told to, and writes down how it was called.
"""

import json
import sys
from pathlib import Path

TEXT = """#!{python}
import json, sys, time
from pathlib import Path
here = Path(__file__).parent
with open(here / "calls.jsonl", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
answers = json.loads((here / "answers.json").read_text())
a = answers.get(" ".join(sys.argv[1:3])) or answers.get(sys.argv[1], {{"err": "Error: unknown command", "code": 1}})
time.sleep(a.get("sleep", 0))
if "makes" in a:
    build = Path(sys.argv[sys.argv.index("--build-path") + 1])
    for name in a["makes"]:
        (build / name).write_bytes(b"made by the double")
sys.stdout.write(a.get("out", ""))
sys.stderr.write(a.get("err", ""))
sys.exit(a.get("code", 0))
"""


def double(folder, answers):
    """Write the stand-in to `folder` -> its path. answers: {"compile" or "board list": {"out", "err", "code", "sleep", "makes"}}."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    (folder / "answers.json").write_text(json.dumps(answers))
    program = folder / "arduino-cli"
    program.write_text(TEXT.format(python=sys.executable))
    program.chmod(0o755)
    return program


def calls(program):
    """How the stand-in was called -> list of argument lists."""
    return [json.loads(line) for line in (program.parent / "calls.jsonl").read_text().splitlines()]
