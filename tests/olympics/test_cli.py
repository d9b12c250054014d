"""What a person types, and what is said to one who types something else."""

import subprocess
import sys

import pytest

from mlsysbook.olympics import package

pytestmark = pytest.mark.slow


def mlsys(*words, cwd=None):
    return subprocess.run([sys.executable, "-c", "from mlsysbook.cli import main; main()", "olympics", *words], cwd=cwd, capture_output=True,
                          text=True, timeout=120)


def test_from_nothing_to_a_page(tmp_path):
    assert "wrote" in mlsys("new", "mine", "--track", "tiny", "--team", "My Team", cwd=tmp_path).stdout
    (tmp_path / "mine" / "entry.py").write_text("def build(x, y, budget, seed):\n    return 1 / 0\n\ndef predict(model, x):\n    return x\n")
    checked = mlsys("check", "mine", cwd=tmp_path)
    assert checked.returncode == 1 and "disqualified: crash: ZeroDivisionError" in checked.stdout
    assert "open.npz" in mlsys("open", "event", "--due", "2099-01-01T12:00+02:00", cwd=tmp_path).stdout
    assert (tmp_path / "event" / "event.toml").read_text().splitlines()[1] == "due = 2099-01-01T10:00:00+00:00"
    assert "took it in as 0001-my-team" in mlsys("submit", "event", "mine", cwd=tmp_path).stdout
    ran = mlsys("run", "event", cwd=tmp_path)
    assert ran.returncode == 0 and "ran 1: disqualified 1" in ran.stdout
    assert "ZeroDivisionError" in (tmp_path / "event" / "page" / "entries" / "0001-my-team.html").read_text()


@pytest.mark.parametrize("words, said", [
    (("new", "x", "--track", "huge"), "unknown track 'huge'; there are cloud, edge, mobile, tiny"),
    (("run", "nowhere"), "nowhere is no event (event.toml is missing)"),
    (("check", "nowhere"), "there is no such folder"),
    (("open", "e", "--due", "tomorrow"), "--due 'tomorrow' is no time"),
    (("--simulate", "3"), "greater than or equal to 8"),
])
def test_a_mistake_gets_one_line_and_leaves_nothing(tmp_path, words, said):
    done = mlsys(*words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_the_starter_is_not_written_over_work(tmp_path):
    package.new(tmp_path / "mine", "tiny", "Me")
    with pytest.raises(package.PackageError, match="is there already"):
        package.new(tmp_path / "mine", "tiny", "Me")


def test_the_help_says_how_scores_are_made():
    text = " ".join(mlsys("--help").stdout.split())
    assert "error = (wrong + 1/2) / (asked + 1)" in text and "simulate" in text
