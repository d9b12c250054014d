"""Anki decks: what is in them, that they stay the same, and what happens without genanki."""

import io
import json
import os
import sqlite3
import subprocess
import sys
import zipfile

import pytest

from staffml import load
from staffml.anki import card, deck
from staffml.pools import draws, variant
from staffml.session import every


def notes(count, templates=None):
    return [(t, i, variant(t, i)) for t in templates or every() for i in draws(t.name)["draws"][:count]]


def rows(data, query, folder):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (folder / "collection").write_bytes(archive.read("collection.anki2"))
        assert json.loads(archive.read("media")) == {}
    db = sqlite3.connect(folder / "collection")
    found = db.execute(query).fetchall()
    db.close()
    return found


def test_a_note_holds_the_question_in_front_and_key_and_feedback_behind(tmp_path):
    template = load("memory/kv_cache")
    ((_, draw, p),) = notes(1, [template])
    data = deck(notes(1, [template]))
    ((fields, tags),) = rows(data, "SELECT flds, tags FROM notes", tmp_path)
    front, back = fields.split("\x1f")
    assert (front, back) == card(template, draw, p)
    assert "How large is the KV cache of the whole batch?" in front and f"{p.layers} layers" in front
    assert "Only the KV heads are stored." in back and "Only the KV heads are stored." not in front
    assert {"area::memory", "level::L3", "track::cloud", "topic::kv-cache-management"} <= set(tags.split())


def test_every_template_makes_a_card_and_text_is_escaped(tmp_path):
    data = deck(notes(1))
    found = rows(data, "SELECT flds FROM notes", tmp_path)
    assert len(found) == len(every()) == len(set(found)) and rows(data, "SELECT count(*) FROM cards", tmp_path) == [(len(found),)]
    for template, draw, p in notes(1):
        for side in card(template, draw, p):
            text = side
            for tag in ("p", "b", "br", "i", "ol", "ul", "li", "table", "tr", "td", "th", "span class=facts", "span"):
                text = text.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
            assert "<" not in text and ">" not in text, (template.name, text)


def test_the_same_choice_is_the_same_file_and_notes_keep_their_identity(tmp_path, monkeypatch):
    templates = every()[:4]
    first = deck(notes(2, templates))
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert deck(notes(2, templates)) == first
    more = dict(rows(deck(notes(3, templates[1:])), "SELECT flds, guid FROM notes", tmp_path))
    shared = [guid for fields, guid in rows(first, "SELECT flds, guid FROM notes", tmp_path) if more.get(fields) == guid]
    assert len(shared) == 6 and len(set(more.values())) == 9


@pytest.mark.parametrize("there", [True, False])
def test_the_command_writes_a_deck_or_names_the_extra(tmp_path, there):
    code = "from staffml.cli import main; main()" if there else "import sys; sys.modules['genanki'] = None; from staffml.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "export", "--anki", "deck.apkg", "--area", "networking", "--variants", "2"],
                          capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"STAFFML_DATA": str(tmp_path)}, timeout=60)
    if there:
        count = 2 * sum(t.area == "networking" for t in every())
        assert (done.returncode, done.stdout) == (0, f"deck.apkg: {count} notes\n")
        assert rows((tmp_path / "deck.apkg").read_bytes(), "SELECT count(*) FROM notes", tmp_path) == [(count,)]
    else:
        assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / "deck.apkg").exists()
        assert done.stderr == "staffml: Anki export needs the package genanki: pip install 'mlsys-course[anki]'\n"
