import json
import re

import pytest

from mlsysbook import answer, locked, predict, reveal, variant
from mlsysbook.answers import identity
from mlsysbook.answers import predict as log
from mlsysbook.answers.answer import AnswerUnreadable

POOL = [{"n": n} for n in range(50)]


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A student's folder with a baked sidecar; the student is ada."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSYS_STUDENT", "ada")
    (tmp_path / "assignment.json").write_text(json.dumps({"course": "c", "assignment": "a", "units": {"size": "B", "rtt": "s"}, "variants": POOL}))
    return tmp_path


def test_a_variant_depends_on_who_and_what_only(notebook, monkeypatch):
    first = variant()
    assert variant() == first == POOL[identity.pick("c", "a", "ada", 50)]
    monkeypatch.setenv("MLSYS_STUDENT", " ADA ")
    assert variant() == first
    assert {identity.pick("c", "a", s, 50) for s in map(str, range(2000))} == set(range(50))
    assert identity.pick("c", "a", "ada", 1000) == 347, "a pick must never change between versions: released work would change under students"


def test_the_name_comes_from_the_grader_then_the_file_then_nbgraders_rule(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MLSYS_STUDENT", raising=False)
    unix = identity.identity()
    import pwd
    assert unix == pwd.getpwuid(__import__("os").getuid()).pw_name
    identity.whoami_file().parent.mkdir()
    identity.whoami_file().write_text("Grace\n")
    assert identity.identity() == "grace"
    monkeypatch.setenv("MLSYS_STUDENT", "ada")
    assert identity.identity() == "ada"


def test_the_hub_user_counts_only_where_the_unix_user_is_jovyan(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MLSYS_STUDENT", raising=False)
    monkeypatch.setenv("JUPYTERHUB_USER", "hubname")
    assert identity.identity() != "hubname"
    monkeypatch.setattr("pwd.getpwuid", lambda uid: type("P", (), {"pw_name": "jovyan"}))
    assert identity.identity() == "hubname"


def test_an_answer_says_how_it_was_read_and_not_whether_it_is_right(notebook, capsys):
    answer("size", "3.2 GB")
    out = capsys.readouterr().out
    assert "recorded '3.2 GB'" in out and not re.search(r"right|wrong|correct", out)


@pytest.mark.parametrize("text", ["", None, "  ", "3.2", "3.2 s", "nan GB", "inf GB", "many", True, [1], "3.2 Gx", "1e999 B"])
def test_an_answer_that_cannot_be_read_says_so_in_one_line(notebook, text):
    with pytest.raises(AnswerUnreadable) as error:
        answer("size", text)
    assert "\n" not in str(error.value) and str(error.value).startswith("size: ")


def test_nothing_is_revealed_before_the_prediction_and_the_first_one_counts(notebook, capsys):
    with pytest.raises(log.PredictionMissing):
        reveal("rtt", "27 ms")
    with pytest.raises(log.PredictionMissing):
        locked("rtt")
    predict("rtt", "20 ms", low="10 ms", high="40 ms")
    predict("rtt", "27 ms", low="26 ms", high="28 ms")
    capsys.readouterr()
    reveal("rtt", "27 ms")
    out = capsys.readouterr().out
    assert "you said 20 ms" in out and "factor of 1.35" in out and "inside" in out
    locked("rtt")
    assert len((notebook / log.LOG).read_text().splitlines()) == 1


def test_a_prediction_must_lie_in_its_interval_and_have_the_unit(notebook):
    with pytest.raises(AnswerUnreadable, match="interval"):
        predict("rtt", "50 ms", low="10 ms", high="40 ms")
    with pytest.raises(AnswerUnreadable):
        predict("rtt", "50 GB", low="10 GB", high="90 GB")
    assert not (notebook / log.LOG).exists()


def edit(lines, n, **change):
    e = json.loads(lines[n]) | change
    return [*lines[:n], json.dumps(e, sort_keys=True), *lines[n + 1:]]


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda t: edit(t, 0, text="27 ms"), "line 1 was edited"), (lambda t: edit(t, 1, at=0.5), "line 2 was edited"),
    (lambda t: t[1:], "another student or assignment"), (lambda t: [t[0], t[2]], "does not follow"), (lambda t: [*t, "{"], "not readable"),
    (lambda t: [t[0], "[]"], "not a prediction"), (lambda t: edit(t, 0, at="now"), "not a prediction"),
])
def test_an_edited_log_is_noticed(notebook, spoil, says):
    for name in ("rtt", "a", "b"):
        log.append(notebook / log.LOG, log.genesis(), name, "20 ms", "10 ms", "40 ms")
    text = (notebook / log.LOG).read_text().splitlines()
    assert log.verify("\n".join(text), log.genesis())[1] is None
    entries, problem = log.verify("\n".join(spoil(text)), log.genesis())
    assert says in problem and len(entries) < 3 or "not readable" in problem


def test_a_neighbours_log_does_not_verify(notebook):
    log.append(notebook / log.LOG, log.genesis("c", "a", "bob"), "rtt", "20 ms", "10 ms", "40 ms")
    with pytest.raises(log.PredictionMissing, match="another student"):
        reveal("rtt", "27 ms")
