"""Every command on the landing page, on the four paths and on "from zero" is run as it stands, in order, in an empty folder.

What serves until Ctrl-C, waits for answers, or builds this very environment is run in a form that ends: STANDS_FOR.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlsysbook import catalogue

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
BIN = Path(sys.executable).parent
PAGES = ("index", "paths/student", "paths/self_learner", "paths/instructor", "paths/contributor", "instructors/from_zero")
STANDS_FOR = {
    r"make ([a-z-]+)": rf"make -n -C {ROOT} \1 >/dev/null",
    r"\. \.venv/bin/activate": "true",
    r"jupyter lab (\S+)": r"jupyter lab --version >/dev/null && ls -d \1",
    r"(mlsys check .*)": r"\1 || test $? = 1",                  # the exit status of an untouched notebook: checks do not pass
    r"mlsys hub": "mlsys hub --help >/dev/null",
    r"mlsys demo": "mlsys demo --help >/dev/null",              # tests/e2e/test_journey.py runs it
    r"mlsys book --serve": "mlsys book --help | grep -q serve",
    r"mlsys book --student": "mlsys book --help | grep -q student",         # tests/book/test_build.py builds one
    r"(staffml (?:drill|due|mock).*)": r"\1 </dev/null",        # at the end of input it says goodbye
    r"(mlsys review)": r"\1 </dev/null",
    r"mlsys slides .*": "mlsys slides --help >/dev/null",       # tests/slides builds them
    r"mlsys ask .*": "mlsys ask --help >/dev/null",             # tests/companion asks a book that was built
    r"mlsys build --check": "mlsys build --help >/dev/null",    # make test runs it
    r"python -m tinytorch\.bench roofline": "python -m tinytorch.bench --help >/dev/null",
    # A class of the test has its own exchange, and a submission to grade.
    r"(mlsys class new (\S+) .*)": r"""\1; mkdir -m 1777 exchange; sed -i "s|^exchange:.*|exchange: $PWD/exchange|" \2/class.yml""",
    r"mlsys class grade": "mkdir -p submitted/ada && mlsys get tinytorch/01_tensor --to submitted/ada/tinytorch-01_tensor && mlsys class grade",
}
WORDS = ("make", "mlsys", "mlsysim", "staffml", "python")


def commands(page):
    """What a reader types on a page: lines of shell blocks, and commands in the text that start with one of WORDS."""
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    block = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.S | re.M)
    lines = [line.strip() for match in block.finditer(text) for line in match[2].splitlines() if line.strip()]
    told = re.findall(r"(?<!`)`([^`]+)`", block.sub("", text))
    rest = [c for c in told if c.split()[0] in WORDS and " " in c and not re.search(r"\b[A-Z]{3,}\b", c)]
    return [*lines, *(c for c in rest if c not in lines)]


def runnable(command):
    for pattern, stand_in in STANDS_FOR.items():
        if match := re.fullmatch(pattern, command):
            return match.expand(stand_in)
    return command


@pytest.mark.parametrize("page", PAGES)
def test_a_page_tells_commands_that_exist(page):
    """Quickly: every make target is in the Makefile, every subcommand in its program's help."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    found = commands(page)
    assert found
    names = {a.name for a in catalogue.load(ROOT).assignments}
    for command in found:
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets, command
        if words[:2] == ["mlsys", "get"]:
            assert words[2] in names, command


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page, tmp_path):
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLSYS", "STAFFML"))}
    environment |= {"HOME": str(home), "PATH": f"{BIN}:/usr/bin:/bin", "COLUMNS": "200", "XDG_DATA_HOME": str(home / "data")}
    script = "set -e\n" + "".join(f"echo '+ {n}' >&2\n{runnable(c)}\n" for n, c in enumerate(commands(page)))
    done = subprocess.run(["bash", "-c", script], cwd=home / "work", env=environment, capture_output=True, text=True, timeout=900)
    ran = re.findall(r"^\+ (\d+)$", done.stderr, re.M)
    assert done.returncode == 0, f"{commands(page)[int(ran[-1])]}: {done.stderr[-1500:]}{done.stdout[-500:]}"
    assert len(ran) == len(commands(page))


def test_the_list_of_stand_ins_has_nothing_that_no_page_tells():
    told = [c for page in PAGES for c in commands(page)]
    assert [p for p in STANDS_FOR if not any(re.fullmatch(p, c) for c in told)] == []
    assert shutil.which("bash")
