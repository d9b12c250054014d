"""The student's side: shows a baked variant and works where no template, answer or library is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import staffml
from staffml import Problem, ProblemError, drill

BAKED = {
    "template": "memory/room",
    "given": {"total": 80e9, "item": 2e9},
    "prompt": "80 GB of memory.\n\nItems of 2 GB.",
    "parts": {"left": {"question": "How much is left?", "unit": "B", "tolerance": 0.02},
              "fit": {"question": "How many fit?", "unit": "", "tolerance": 0.0}},
}
PLAIN = """\
80 GB of memory.

Items of 2 GB.

1. How much is left? (bytes, to within 2 %)
2. How many fit? (a whole number, exactly)"""


def test_a_problem_reads_the_same_as_text_and_as_markdown():
    problem = drill(BAKED)
    assert str(problem) == repr(problem) == PLAIN
    assert problem._repr_markdown_().replace("*", "") == PLAIN


def test_questions_keep_their_order_in_a_file_whose_keys_are_sorted():
    for name in ("networking/ring_all_reduce", "memory/training_state"):
        order = [part.name for part in staffml.load(name).parts]
        variant = json.loads(json.dumps(staffml.bake(name, 1)[0], sort_keys=True))
        assert list(variant["parts"]) != order and list(Problem(variant).parts) == order


def test_its_numbers_are_attributes():
    problem = Problem(BAKED)
    assert (problem.total, problem.item, problem.given) == (80e9, 2e9, {"total": 80e9, "item": 2e9})
    assert {"total", "item"} <= set(dir(problem))
    with pytest.raises(AttributeError, match="does not give 'totl'; it gives total, item"):
        _ = problem.totl


def test_no_numbers_means_a_one_line_error():
    with pytest.raises(ProblemError, match="no 'given': fetch the assignment again"):
        drill({})


def test_it_works_alone_without_templates_or_any_other_package(tmp_path):
    shutil.copytree(Path(staffml.__file__).parent, tmp_path / "staffml")
    code = ("import json, sys; from staffml import drill; print(drill(json.loads(sys.argv[1])));"
            "assert not {'mlsysim', 'mlsysbook', 'numpy', 'staffml.template'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-S", "-c", code, json.dumps(BAKED)], cwd=tmp_path, capture_output=True,
                          text=True)
    assert (done.stdout.rstrip("\n"), done.stderr) == (PLAIN, "")
