"""The `staffml` command, as a person types it: each verb in a process of its own."""

import configparser
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlsysim import units
from staffml import cli, load
from staffml.check import CLOSED_FORMS
from staffml.cli import preview
from staffml.pools import draws, variant
from staffml.practice import Practice
from staffml.round import Stopped, item
from staffml.round import play as run_steps
from staffml.taxonomy import AREAS, LEVELS, TRACKS
from staffml.template import FOLDER, names

ROOT = Path(__file__).parents[2]


@pytest.fixture
def staffml(tmp_path):
    def run(*arguments, stdin=""):
        environment = os.environ | {"STAFFML_DATA": str(tmp_path), "COLUMNS": "120", "PYTHONWARNINGS": "error"}
        return subprocess.run([sys.executable, "-m", "staffml", *map(str, arguments)], input=stdin, capture_output=True, text=True,
                              env=environment, timeout=120, cwd=tmp_path)

    run.folder = tmp_path
    return run


def test_the_command_is_installed_under_its_name():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    assert "staffml = staffml.cli:main" in config["options.entry_points"]["console_scripts"].splitlines()


def test_help_names_every_verb(staffml):
    done = staffml("--help")
    assert done.returncode == 0
    for verb in ("list", "new", "preview", "build", "check", "drill", "due", "mock", "progress", "export", "bank"):
        assert f" {verb} " in done.stdout


def test_list_shows_templates_and_what_they_cover(staffml):
    done = staffml("list")
    assert all(name in done.stdout for name in names()) and "13 of 13 areas" in done.stdout and "5 of 5 tracks" in done.stdout
    found = json.loads(staffml("list", "--track", "tiny", "--json").stdout)
    assert {t["name"] for t in found} == {n for n in names() if load(n).track == "tiny"}


def test_preview_shows_prompts_keys_and_feedback(staffml):
    done = staffml("preview", "memory/kv_cache", "--variants", 2)
    assert done.returncode == 0 and done.stdout.count("How large is the KV cache") == 2
    assert done.stdout.count("query heads: Only the KV heads are stored.") == 2 and "cache  " in done.stdout


def test_every_template_has_a_preview(capsys):
    for name in names():
        preview(name, 1)
        shown = capsys.readouterr().out
        assert load(name).title in shown and all(f"  {part.name}  " in shown for part in load(name).parts)


@pytest.mark.parametrize("arguments, message", [
    (("drill", "--area", "memry"), "did you mean memory?"),
    (("drill", "--level", "L7"), "level 'L7' is not one of L1, L2"),
    (("mock", "--end"), "no mock interview is running"),
    (("mock", "--report", "7"), "there is no mock interview 7; staffml mock --list shows none yet"),
    (("mock", "--minutes", "5", "--level", "L6+"), "no item fits into 5 minutes; the shortest takes"),
    (("mock", "--error", "0"), "--error"),
    (("progress", "--plot", "plot.doc"), "its ending names no format; wants one of"),
    (("preview", "memory/kv_cash"), "did you mean memory/kv_cache"),
    (("preview", "x"), "`staffml list` shows the"),
    (("new", "memory"), "wants AREA/NAME"),
    (("report", "."), "no class.yml in"),
    (("dril",), "No such command"),
    (("drill", "--count", "0"), "--count"),
    (("export", "/no/such/folder/x.json"), "there is no folder /no/such/folder"),
])
def test_bad_input_is_one_line_and_status_two(staffml, arguments, message):
    done = staffml(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1 and done.stderr.startswith("staffml: ")


def test_a_choice_that_leaves_no_template_is_one_line_too(staffml):
    there = {(load(n).area, load(n).level, load(n).track) for n in names()}
    area, level, track = next(c for c in itertools.product(AREAS, LEVELS, TRACKS) if c not in there)
    for verb in ("list", "drill", "mock"):
        done = staffml(verb, "--area", area, "--level", level, "--track", track)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"staffml: no template is of {area}, {level}, {track}; `staffml list` shows what there is\n"


def test_check_of_one_template_says_how_many_variants_agree(staffml):
    done = staffml("check", "networking/round_trip")
    assert (done.returncode, done.stdout) == (0, "1 template, 200 variants: both paths agree, nothing is typed in\n")
    done = staffml("check", "networking/round_trap")
    assert done.returncode == 1 and "did you mean networking/round_trip" in done.stdout


def test_a_round_grades_with_feedback_and_is_kept(staffml):
    done = staffml("drill", "--template", "networking/round_trip", "--count", 1, stdin="7\nbla\n1\n70\n99\n\n")
    assert done.returncode == 0, done.stderr
    assert "write the number of a choice, from 1 to 4" in done.stdout and "to be asked again" in done.stdout
    assert "turns: wrong." in done.stdout and "1 item, " in done.stdout
    with Practice(staffml.folder / "practice.sqlite") as practice:
        (attempt,) = practice.attempts()
    first, second = attempt["answers"]
    assert (first["text"], first["confidence"], second["text"], second["confidence"]) == ("1", 0.7, "99", None)
    shown = staffml("progress").stdout
    assert "1 item; 1 day in a row" in shown and "networking" in shown and "sure 70 %" in shown
    assert json.loads(staffml("progress", "--json").stdout)["attempts"] == 1
    staffml("export", "out.json")
    assert json.loads((staffml.folder / "out.json").read_text())["attempts"][0]["draw"] == attempt["draw"]


def test_the_next_round_brings_another_variant_and_prefers_what_is_new(staffml):
    for choice in (("--area", "networking"), ("--area", "networking"), ("--template", "networking/round_trip")) + 2 * (
            ("--template", "networking/round_trip"),):
        staffml("drill", *choice, "--count", 1, "--no-confidence", stdin="\n" * 9)
    with Practice(staffml.folder / "practice.sqlite") as practice:
        asked = [(a["template"], a["draw"]) for a in practice.attempts()]
    assert len(asked) == len(set(asked)) == 5 and asked[0][0] != asked[1][0] and len({name for name, _ in asked}) <= 3


def test_an_item_left_half_way_is_not_kept_and_earlier_ones_are(staffml):
    done = staffml("drill", "--template", "networking/round_trip", "--count", 2, "--no-confidence", stdin="1\n5\nq\n")
    assert done.returncode == 0 and "stopped; this item is not kept" in done.stdout
    assert "1 items" not in done.stdout and "1 item, " in done.stdout
    done = staffml("drill", "--count", 2, stdin="")
    assert done.returncode == 0 and "0 items" in done.stdout


def test_due_says_when_and_asks_what_is_due(staffml):
    assert "nothing to review yet" in staffml("due").stdout
    staffml("drill", "--template", "networking/round_trip", "--count", 1, "--no-confidence", stdin="\n\n")
    assert "networking/round_trip  today" in staffml("due", "--list").stdout
    from datetime import UTC, datetime, timedelta

    with Practice(staffml.folder / "practice.sqlite") as practice:
        practice._db.execute("UPDATE card SET due = ?", ((datetime.now(UTC) - timedelta(days=1)).isoformat(),))
    assert "networking/round_trip  due" in staffml("due", "--list").stdout
    done = staffml("due", "--no-confidence", stdin="\n\n")
    assert "Round trip through fibre" in done.stdout
    with Practice(staffml.folder / "practice.sqlite") as practice:
        assert len({a["draw"] for a in practice.attempts()}) == 2 and practice.due() == []


def test_progress_without_attempts_says_how_to_start(staffml):
    assert staffml("progress").stdout == "no attempts yet; start with: staffml drill\n"


def play(name, lines, confidence=False):
    template = load(name)
    draw = draws(name)["draws"][0]
    p, said, lines = variant(template, draw), [], iter(lines(template, variant(template, draw)))
    steps = item(template, draw, p, confidence=confidence, clock=iter((10.0, 75.0)).__next__)
    answers, seconds = run_steps(steps, lambda text, style: said.append(text), lambda step: next(lines))
    return answers, seconds, said


def test_in_a_chain_nothing_is_given_away_before_its_last_step():
    def slip(template, p):                                                  # ten times too much energy, then right from there
        energy = 10 * template.answers(p)["energy"]
        power = template.part("power").value(p, {"energy": energy})
        return [f"{energy!r} J", f"{power!r} W", f"{template.part('life').value(p, {'power': power})!r} s"]

    answers, seconds, said = play("power/duty_cycle", slip)
    assert [a.share for a in answers] == [0.0, 1.0, 1.0] and seconds == 65.0
    verdicts = [i for i, text in enumerate(said) if text.startswith(("energy:", "power:", "life:"))]
    questions = [i for i, text in enumerate(said) if text[:2] in ("1.", "2.", "3.")]
    assert min(verdicts) > max(questions)
    assert any(text.startswith("power: right. Right with your own energy of") for text in said)
    assert sum(text.startswith("wanted ") for text in said) == 3


def test_an_estimate_asks_for_an_interval_and_a_design_for_ticks():
    def estimate(template, p):
        truth = template.answers(p)
        return [f"{truth['flop']!r} FLOP", f"{truth['time']!r} s", "nonsense", f"{truth['time'] / 3!r} s .. {truth['time'] * 3!r} s"]

    answers, _, said = play("compute/training_time", estimate)
    assert answers[1].held is True and 0.7 < answers[1].share < 1 and "your interval holds it" in said
    assert any("write LOW .. HIGH" in text for text in said)

    answers, _, said = play("deployment/capacity_plan", lambda t, p: ["", "", "", "Smaller numbers.", "n", "y", "n", "y"])
    assert answers[-1].share == pytest.approx(0.5) and answers[-1].text == "Smaller numbers."
    assert any("50 % by your own marking" in text for text in said)
    assert [a.share for a in answers[:-1]] == [0, 0, 0]


def test_q_stops_and_confidence_is_a_percentage():
    with pytest.raises(Stopped):
        play("networking/round_trip", lambda t, p: ["q"])
    answers, _, said = play("networking/round_trip", lambda t, p: ["1", "maybe", "120", "80 %", "3", ""], confidence=True)
    assert [a.confidence for a in answers] == [0.8, None]
    assert sum("whole number from 0 to 100" in text for text in said) == 2


def test_what_is_wanted_is_told_in_the_unit_of_the_question():
    answers, _, said = play("networking/ring_all_reduce", lambda t, p: ["1 ms", "1 h"])
    template = load("networking/ring_all_reduce")
    right = template.answers(variant(template, draws(template.name)["draws"][0]))
    assert [f"wanted {units.format(v, 's')}" in said for v in right.values()] == [True, True] and {a.share for a in answers} == {0.0}


@pytest.mark.parametrize("folder", [FOLDER, CLOSED_FORMS])
@pytest.mark.parametrize("code, said", [("1 / 0", "ZeroDivisionError: division by zero"), ("int('x')", "ValueError: invalid literal"),
                                        ("(", "SyntaxError: '(' was never closed")])
def test_an_error_in_what_an_author_wrote_is_one_line_with_its_place(folder, code, said, monkeypatch, capsys):
    path = folder / "memory.py"

    def app(**_):
        exec(compile(f"\n{code}", str(path), "exec"))

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    told = capsys.readouterr().err
    assert told.startswith(f"staffml: {path}:2: {said}") and told.count("\n") == 1


def test_an_error_of_the_program_itself_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "app", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_no_confidence_ends_a_round(staffml):
    done = staffml("drill", "--template", "memory/kv_cache", "--count", 1, stdin="1 GB\n" + "9" * 5000 + "\n-1\n101\n\n")
    assert done.returncode == 0 and done.stdout.count("write a whole number from 0 to 100") == 3


def test_marking_ones_own_design_takes_yes_and_no_and_nothing_else():
    template = load("compute/two_accelerators")
    draw = draws(template.name)["draws"][0]
    design = next(part for part in template.parts if part.kind == "design")
    told, texts = [], itertools.chain([""] * (len(template.parts) - 1), ["The second.", "maybe", "yes"], itertools.repeat("n"))
    answers, _ = run_steps(item(template, draw, variant(template, draw), confidence=False), lambda text, _: told.append(text), lambda _: next(texts))
    assert answers[-1].share == pytest.approx(design.rubric[0][0]) and told.count("got 'maybe'; write y or n") == 1
