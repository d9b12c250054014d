"""What holds of every template, and what check, build and new do about it."""

import json
import shutil
from types import SimpleNamespace

import pytest

from staffml import PoolError, TemplateError, load
from staffml.check import CLOSED_FORMS, check, check_all, closed_form, typed_in
from staffml.pools import POOLS, build, draws, fingerprint, variant
from staffml.scaffold import new
from staffml.template import FOLDER, names

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", names())
def test_every_template_agrees_with_its_closed_form_on_all_its_variants(name):
    assert check(name) == []


def test_prerequisites_exist_and_go_in_no_circles():
    assert check_all() == []


def test_the_committed_pools_are_what_build_writes_and_small(tmp_path):
    for name in ("networking/round_trip", "data/input_trace"):
        path, _ = build(name, pools=tmp_path)
        assert path.read_bytes() == (POOLS / f"{name}.json").read_bytes()
    files = list(POOLS.glob("*/*.json"))
    assert sorted(path.relative_to(POOLS).with_suffix("").as_posix() for path in files) == names()
    assert max(path.stat().st_size for path in files) < 3000


def test_building_again_changes_nothing(tmp_path):
    assert build("compute/training_time", 20, pools=tmp_path)[1] is True
    assert build("compute/training_time", 20, pools=tmp_path)[1] is False
    assert len(draws("compute/training_time", tmp_path)["draws"]) == 20


def test_the_fingerprint_follows_answers_and_texts_and_not_line_breaks():
    from dataclasses import replace

    template = load("networking/round_trip")
    ps = [variant(template, i) for i in draws(template.name)["draws"][:5]]
    same = fingerprint(template, ps)
    assert fingerprint(replace(template, prompt=template.prompt.replace("\n        ", " ")), ps) == same
    assert fingerprint(replace(template, prompt=template.prompt.replace("user", "person")), ps) != same
    part = replace(template.parts[1], answer=lambda p: p.budget)
    assert fingerprint(replace(template, parts=(template.parts[0], part)), ps) != same


@pytest.fixture
def here(tmp_path):
    """A folder of its own for templates, pools and closed forms."""
    return SimpleNamespace(folder=tmp_path / "templates", pools=tmp_path / "pools", forms=tmp_path / "forms")


def wrong(name, here):
    return check(name, folder=here.folder, pools=here.pools, forms=here.forms)


@pytest.mark.parametrize("area, track, level", [("memory", "tiny", "L1"), ("cross-cutting", "global", "L6+")])
def test_a_new_template_passes_every_check(here, area, track, level):
    path, form = new(f"{area}/first_try", track=track, level=level, folder=here.folder, forms=here.forms)
    new(f"{area}/second", folder=here.folder, forms=here.forms)
    for name in (f"{area}/first_try", f"{area}/second"):
        build(name, folder=here.folder, pools=here.pools)
        assert wrong(name, here) == []
    assert len(path.read_text().splitlines()) <= 60
    template = load(f"{area}/first_try", here.folder)
    assert (template.track, template.level, template.title) == (track, level, "First try")


@pytest.mark.parametrize("name, more, message", [
    ("memory", {}, "wants AREA/NAME"), ("memory/KV", {}, "wants AREA/NAME"), ("memry/x", {}, "did you mean memory"),
    ("memory/x", {"track": "clouds"}, "did you mean cloud"), ("memory/x", {"level": "L7"}, "level 'L7' is not one of L1"),
    ("memory/x", {"topic": "kv-cache"}, "did you mean kv-cache-management"), ("memory/there", {}, "exists already"),
])
def test_new_refuses_in_one_line_and_writes_nothing(here, name, more, message):
    new("memory/there", folder=here.folder, forms=here.forms)
    before = sorted(here.folder.rglob("*")), (here.forms / "memory.py").read_text()
    with pytest.raises(TemplateError, match=message) as caught:
        new(name, folder=here.folder, forms=here.forms, **more)
    assert "\n" not in str(caught.value)
    assert before == (sorted(here.folder.rglob("*")), (here.forms / "memory.py").read_text())


def test_check_says_what_is_wrong(here):
    name = "memory/slip"
    path, form = new(name, folder=here.folder, forms=here.forms)
    assert wrong(name, here) == [f"{name} has no pool; run: staffml build {name}"]
    build(name, 30, folder=here.folder, pools=here.pools)
    assert any("its pool holds 30 variants; wants at least 200" in line for line in wrong(name, here))
    build(name, folder=here.folder, pools=here.pools)

    good = form.read_text()
    form.write_text(good.replace("seconds = p.size * 8 / (p.rate * 8)", "seconds = p.size / p.rate * 1.000001"))
    closed_form.cache_clear()
    assert any("time: the answer is" in line and "by the closed form" in line for line in wrong(name, here))
    form.write_text(good.replace("\n\n\ndef", "\n\nimport mlsysim\n\n\ndef"))
    closed_form.cache_clear()
    assert "imports mlsysim; a closed form uses" in wrong(name, here)[0]
    form.write_text(good.replace("def slip", "def slop"))
    closed_form.cache_clear()
    assert "has no closed form: define slip(p)" in wrong(name, here)[0]
    form.write_text(good)
    closed_form.cache_clear()

    source = path.read_text()
    path.write_text(source.replace("crosses one link", "goes over one link").replace('    chapter="V1-02", minutes=5,', "    minutes=5,"))
    load.cache_clear()
    found = wrong(name, here)
    assert any("has changed since its pool was built" in line for line in found) and any("names no chapter" in line for line in found)
    path.write_text(source + "#\n" * 60)
    load.cache_clear()
    assert any("wants at most 60" in line for line in wrong(name, here))


@pytest.mark.parametrize("code, found", [
    ("def f(p):\n    return p.n * 0.7", "0.7 is typed into a key"),
    ("x = lambda p: device('h100').peak", "'h100' is typed into a key"),
    ("x = lambda p: p.but(batch=3)", "3 is typed into a key"),
    ("EFFICIENCY = 0.35", "EFFICIENCY has a number without a source"),
    ("A, B = 3, 5", "has a number without a source"),
    ("share = 0.35\nx = lambda p: share * p.n", "share has a number without a source"),
    ("SHARE: float = 0.35", "SHARE has a number without a source"),
    ("def f(p, k=0.7):\n    return p.n * k", "0.7 is typed into a key"),
    ("def f(p, *, k=0.7):\n    return p.n * k", "0.7 is typed into a key"),
    ("EFFICIENCY = 0.35    # measured: a paper, table 2", None),
    ("def f(p):\n    '''In 3 steps.'''\n    return round(p.n * 2**20 / 8 * 1e9 / 3600, 3)", None),
    ("x = lambda p: rate(p.gpu, 'fp16') + 1", None),
    ("space = {'n': (3, 5, 7)}", None),
])
def test_numbers_typed_into_keys_are_found_and_units_are_not(tmp_path, code, found):
    path = tmp_path / "t.py"
    path.write_text(code + "\n")
    lines = typed_in(path)
    assert (found is None and not lines) or (found and found in lines[0])


def test_circles_and_missing_prerequisites_are_named(tmp_path):
    for name, requires in (("memory/a", "memory/b"), ("memory/b", "memory/a"), ("memory/c", "memory/d")):
        path, _ = new(name, folder=tmp_path, forms=tmp_path / "forms")
        path.write_text(path.read_text().replace("minutes=5,", f"minutes=5, requires=({requires!r},),"))
    shutil.rmtree(tmp_path / "forms")
    found = check_all(tmp_path)
    assert "memory/c requires 'memory/d', and there is no such template" in found
    assert any("go in a circle: memory/a -> memory/b -> memory/a" in line for line in found)


def test_a_damaged_pool_is_one_line(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/kv_cache.json").write_text('{"draws": [1,')
    with pytest.raises(PoolError, match="is not JSON .* staffml build memory/kv_cache"):
        draws("memory/kv_cache", tmp_path)


def test_closed_forms_are_for_templates_that_exist():
    import ast

    for path in CLOSED_FORMS.glob("*.py"):
        functions = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
        assert {f"{path.stem.replace('_', '-')}/{f}" for f in functions} <= set(names()), path
    assert json.loads((POOLS / "memory/kv_cache.json").read_text())["template"] == "memory/kv_cache" and FOLDER.is_dir()
