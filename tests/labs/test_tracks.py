"""Whose track, and what keeps it: the log first, then the choice, then a lot."""

import json
import multiprocessing

import pytest

from mlsysbook import choose, ledger, predict, scenario, variant
from mlsysbook.answers import predict as log
from mlsysbook.answers.answer import AnswerUnreadable
from mlsysbook.build.reference import load
from mlsysbook.errors import SourceError
from mlsysbook.labs import tracks
from mlsysbook.labs.ledger import Ledger, LedgerError, path
from tests.labs import lab as text

CLOUD = {"title": "A card", "story": "Requests come to a card.", "service": "20 ms"}
TINY = {"title": "A chip", "story": "Sounds come to a chip.", "service": "0.3 s"}


def other(track):
    return {"cloud": "tiny", "tiny": "cloud"}[track]


def test_a_lot_is_the_same_in_every_lab_and_serves_all_tracks():
    drawn = [tracks.lot("small", f"s{i}", tracks.TRACKS) for i in range(400)]
    assert min(drawn.count(t) for t in tracks.TRACKS) > 60
    assert tracks.lot("small", " S1 ", tracks.TRACKS) == drawn[1]
    assert (tracks.lot("mlsys", "ada", tracks.TRACKS), tracks.lot("mlsys", "bob", tracks.TRACKS)) == ("edge", "mobile"), \
        "a lot must never change between versions"


def test_the_first_run_fixes_the_track_and_a_later_choice_moves_only_labs_to_come(desk, capsys):
    drawn = variant()["track"]
    choose(other(drawn))
    assert variant()["track"] == other(drawn), "nothing is fixed yet"
    here = scenario(cloud=CLOUD, tiny=TINY)
    choose(drawn)
    again = scenario(cloud=CLOUD, tiny=TINY)
    assert here.track == again.track == variant()["track"] == other(drawn)
    entries, problem = log.verify((desk / log.LOG).read_text(), log.genesis())
    assert problem is None and [(e["name"], e["text"]) for e in entries] == [("@track", other(drawn))]


def test_a_choice_that_this_lab_does_not_offer_leaves_the_lot(desk):
    choose("mobile")
    assert scenario(cloud=CLOUD, tiny=TINY).track == tracks.lot("small", "ada", ("cloud", "tiny"))


def test_the_judge_reads_the_same_variant_as_the_notebook(built, desk):
    ref = load(*built)
    for student in ("ada", "bob", "eve"):
        for chosen in ("cloud", "tiny"):
            entries = [{"name": "@track", "text": "mobile"}, {"name": "@track", "text": chosen}, {"name": "@track", "text": other(chosen)}]
            assert ref.track(student, entries) == chosen
            assert ref.variant(student, chosen)["track"] == chosen
        assert ref.variant(student) == ref.variant(student, tracks.lot("small", student, ("cloud", "tiny")))
    assert variant() == ref.variant("ada")
    choose(other(variant()["track"]))
    scenario(cloud=CLOUD, tiny=TINY)
    entries, _ = log.verify((desk / log.LOG).read_text(), log.genesis("small", "labs-queue", "ada"))
    assert variant() == ref.variant("ada", ref.track("ada", entries)) != ref.variant("ada")


def test_nothing_is_written_in_the_box(desk, monkeypatch):
    monkeypatch.setenv("MLSYS_BOX", "1")
    scenario(cloud=CLOUD, tiny=TINY)
    ledger().put("n", 1)
    assert [p.name for p in desk.iterdir()] == ["assignment.json"] and not path().exists()


def test_a_log_that_was_edited_stops_the_scenario_at_the_desk(desk):
    scenario(cloud=CLOUD, tiny=TINY)
    (desk / log.LOG).write_text((desk / log.LOG).read_text().replace("cloud", "tina").replace("tiny", "tina"))
    with pytest.raises(log.PredictionMissing, match="line 1 was edited"):
        scenario(cloud=CLOUD, tiny=TINY)


def test_a_prediction_cannot_name_the_track(desk):
    with pytest.raises(AnswerUnreadable, match="begin with @"):
        predict("@track", "1", low="1", high="1")
    assert not (desk / log.LOG).exists()


def test_a_scenario_shows_itself_and_reads_its_values(desk):
    here = scenario(cloud=CLOUD, tiny=TINY).of("tiny")
    assert here.service == "0.3 s" and here.si("service") == 0.3
    assert str(here).splitlines() == ["Your track: tiny. A chip", "Sounds come to a chip.", f"  {'service':<24} 0.3 s"]
    assert "| service | 0.3 s |" in here._repr_markdown_() and "**Your track: tiny. A chip**" in here._repr_markdown_()


@pytest.mark.parametrize(("call", "says"), [
    (lambda: scenario(), "at least one track"), (lambda: scenario(cloud=CLOUD, moon=TINY), "'moon' is no track; there are cloud, edge"),
    (lambda: scenario(cloud=CLOUD, tiny={"title": "a", "story": "b"}), "the track tiny has no service"),
    (lambda: scenario(cloud=CLOUD).servise, "no servise; did you mean service?"), (lambda: scenario(cloud=CLOUD).of("tiny"), "no track of it"),
    (lambda: choose("clowd"), "did you mean cloud?"), (lambda: choose(3), "got 3"),
])
def test_what_there_is_not_is_said_in_one_line(desk, call, says):
    with pytest.raises((tracks.TrackError, AttributeError)) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("old", "new", "says"), [
    ('("tiny", 0.3)', '("moon", 0.3)', "has the track 'moon'"), ('    tiny={"title"', '    edge={"title"', "its scenario has the tracks cloud, edge"),
    ('yield {"track": track, ', "yield {", "its scenario has the tracks cloud, tiny, its variants none"),
    ('("cloud", 0.02), ("tiny", 0.3)', '("tiny", 0.3),', "both want the same"),
])
def test_variants_and_scenario_that_do_not_agree_are_an_error_of_the_author(tmp_path, old, new, says):
    assert text.SOURCE.count(old) == 1
    with pytest.raises(SourceError, match=says):
        text.make(tmp_path, text.SOURCE.replace(old, new))


def test_a_lab_without_variants_of_its_own_has_one_a_track(tmp_path, monkeypatch):
    source = text.SOURCE
    begin, end = source.index("# %% variants"), source.index("# %%\nhere")
    course, a = text.make(tmp_path, (source[:begin] + source[end:]).replace('mine["arrivals"]', "1.0").replace("mine['arrivals']", "1.0").replace('v["arrivals"]', "1.0"))
    assert load(course, a).pool == [{"track": "cloud"}, {"track": "tiny"}]
    assert json.loads((a.source_dir / "assignment.json").read_text())["variants"] == [{"track": "cloud"}, {"track": "tiny"}]


def test_the_ledger_carries_choices_from_lab_to_lab(desk):
    ledger().put("batch", {"size": 8, "why": ["memory"]})
    Ledger("small", "labs-next").put("batch", 3)
    Ledger("elsewhere", "labs-queue").put("batch", 4)
    assert ledger().get("batch") == {"size": 8, "why": ["memory"]} and ledger().get("batch", lab="labs/next") == 3
    with pytest.raises(LedgerError) as error:
        ledger().get("batches", lab="labs/next")
    assert str(error.value) == "ledger: nothing under 'batches' from labs-next; it has batch; run the cell of that lab that makes it"
    for odd in (float("nan"), object(), {1, 2}):
        with pytest.raises(LedgerError, match="cannot be remembered"):
            ledger().put("odd", odd)


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"small": {"labs-queue": {"batch": 1}}}', "[" * 100_000])
def test_a_spoilt_ledger_is_named_and_left_alone(desk, spoilt):
    path().parent.mkdir()
    path().write_text(spoilt)
    for use in (lambda: ledger().get("x"), lambda: ledger().put("x", 1)):
        with pytest.raises(LedgerError, match="not a readable ledger"):
            use()
    assert path().read_text() == spoilt


def _put(i):
    for n in range(5):
        Ledger("small", f"labs-{i}").put(f"p{n}", n)


def test_kernels_that_write_at_once_lose_nothing(desk):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_put, range(8))
    assert all(Ledger("small", f"labs-{i}").get(f"p{n}") == n for i in range(8) for n in range(5))
