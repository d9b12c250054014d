"""The QTI package: its structure by the content models of the specification, and its scoring run by a processor of this test's own."""

import io
import re
import zipfile
from collections import Counter
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from mlsysbook.cli import app, class_, teach  # noqa: F401  (they register their commands)
from mlsysbook.errors import CourseError
from mlsysbook.teach import qti
from mlsysim import units
from staffml.parts import Choice, Design, Diagnosis, Fermi
from staffml.pools import draws, variant
from staffml.session import every
from staffml.template import load

# What an element may hold, as a pattern over names of children with a comma behind each. IMS QTI 2.1, ASI information model.
MODEL = {
    "assessmentItem": "(responseDeclaration,)*(outcomeDeclaration,)*(itemBody,)?(responseProcessing,)?(modalFeedback,)*",
    "responseDeclaration": "(correctResponse,)?", "correctResponse": "(value,)+", "outcomeDeclaration": "(defaultValue,)?",
    "defaultValue": "(value,)+", "itemBody": "((p|table|ol|ul|rubricBlock|choiceInteraction|extendedTextInteraction),)*", "p": "(textEntryInteraction,)?",
    "table": "(thead,)?(tbody,)+", "thead": "(tr,)+", "tbody": "(tr,)*", "tr": "((th|td),)+", "ol": "(li,)*", "ul": "(li,)*", "rubricBlock": "(ul,)",
    "choiceInteraction": "(prompt,)?(simpleChoice,)+", "extendedTextInteraction": "(prompt,)?", "responseProcessing": "(responseCondition,)*",
    "responseCondition": "responseIf,(responseElseIf,)*(responseElse,)?", "responseIf": "(match|and|equal),(setOutcomeValue,)+",
    "responseElseIf": "(match|and|equal),(setOutcomeValue,)+", "responseElse": "(setOutcomeValue,)+", "setOutcomeValue": "baseValue,",
    "match": "variable,baseValue,", "and": "((gte|lte),)+", "gte": "variable,baseValue,", "lte": "variable,baseValue,",
    "equal": "variable,baseValue,", "modalFeedback": "(p,)+",
}
NEEDS = {"assessmentItem": "identifier title adaptive timeDependent", "responseDeclaration": "identifier cardinality",
         "outcomeDeclaration": "identifier cardinality", "simpleChoice": "identifier", "choiceInteraction": "responseIdentifier shuffle maxChoices",
         "textEntryInteraction": "responseIdentifier", "extendedTextInteraction": "responseIdentifier", "setOutcomeValue": "identifier",
         "variable": "identifier", "baseValue": "baseType", "equal": "toleranceMode", "modalFeedback": "outcomeIdentifier identifier showHide",
         "rubricBlock": "view"}
TEMPLATES = every()


def tag(e):
    return e.tag.partition("}")[2]


@pytest.fixture(scope="module")
def made():
    content, count = qti.package(TEMPLATES)
    archive = zipfile.ZipFile(io.BytesIO(content))
    return {n: ElementTree.fromstring(archive.read(n)) for n in archive.namelist()}, count


def test_the_manifest_lists_every_item_once(made):
    files, count = made
    manifest = files["imsmanifest.xml"]
    assert manifest.tag == f"{{{qti.PACKAGE}}}manifest" and [tag(e) for e in manifest] == ["metadata", "organizations", "resources"]
    resources = manifest[2]
    hrefs = [r.get("href") for r in resources]
    assert sorted(hrefs) == sorted(n for n in files if n != "imsmanifest.xml") and len(hrefs) == count == sum(len(t.parts) for t in TEMPLATES)
    assert all(r.get("type") == "imsqti_item_xmlv2p1" and [f.get("href") for f in r] == [r.get("href")] for r in resources)
    assert max(Counter(r.get("identifier") for r in resources).values()) == 1


def test_every_item_has_the_structure_of_the_specification(made):
    identifiers = []
    for name, item in made[0].items():
        if name == "imsmanifest.xml":
            continue
        assert item.tag == f"{{{qti.QTI}}}assessmentItem"
        identifiers.append(item.get("identifier"))
        for e in item.iter():
            assert e.tag.startswith(f"{{{qti.QTI}}}")
            children = "".join(f"{tag(c)}," for c in e)
            assert re.fullmatch(MODEL.get(tag(e), ""), children), f"{name}: {tag(e)} holds {children}"
            for attribute in NEEDS.get(tag(e), "").split():
                assert e.get(attribute), f"{name}: {tag(e)} wants {attribute}"
        declared = {e.get("identifier") for e in item if tag(e).endswith("Declaration")}
        assert {e.get("responseIdentifier") for e in item.iter() if e.get("responseIdentifier")} <= declared
        assert {e.get("identifier") for e in item.iter() if tag(e) in ("variable", "setOutcomeValue")} <= declared
        told = {e.get("identifier") for e in item if tag(e) == "modalFeedback"}
        named = {b.text for s in item.iter() if tag(s) == "setOutcomeValue" and s.get("identifier") == "FEEDBACK" for b in s}
        assert told == named
        assert "{" not in "".join(item.itertext()), f"{name}: a field was not filled in"
    assert len(set(identifiers)) == len(identifiers) and all(re.fullmatch(r"[A-Za-z_][\w.-]*", i) for i in identifiers)


def response(item, text):
    """Run an item's response processing -> (SCORE, FEEDBACK). Written from the specification, not from the code."""
    kind = next(e.get("baseType") for e in item if tag(e) == "responseDeclaration")
    read = float if kind == "float" else str

    def holds(e):
        if tag(e) == "and":
            return all(map(holds, e))
        own, other = read(text), read(e[1].text)
        return {"match": own == other, "equal": own == other, "gte": kind == "float" and own >= other, "lte": kind == "float" and own <= other}[tag(e)]

    outcome = {"SCORE": 0.0, "FEEDBACK": None}
    condition = next(e for e in item if tag(e) == "responseProcessing")[0]
    for branch in condition:
        if tag(branch) == "responseElse" or holds(branch[0]):
            for s in branch.findall(f"{{{qti.QTI}}}setOutcomeValue"):
                outcome[s.get("identifier")] = float(s[0].text) if s[0].get("baseType") == "float" else s[0].text
            break
    feedback = {e.get("identifier"): "".join(e.itertext()) for e in item if tag(e) == "modalFeedback"}
    return outcome["SCORE"], feedback.get(outcome["FEEDBACK"])


def test_every_item_scores_as_staffml_does(made):
    kinds = Counter()
    for t in TEMPLATES:
        i = draws(t.name)["draws"][0]
        p = variant(t, i)
        answers = t.answers(p)
        for part in t.parts:
            item = made[0][f"items/{t.name.replace('/', '_').replace('-', '_')}_{i}_{part.name}.xml"]
            kinds[type(part).__name__] += 1
            if isinstance(part, Design):
                said = "".join(item.find(f".//{{{qti.QTI}}}rubricBlock").itertext())
                assert all(f"{100 * share:g} %" in said for share, _ in part.rubric) and item.find(f".//{{{qti.QTI}}}responseProcessing") is None
                continue
            right = item.find(f".//{{{qti.QTI}}}correctResponse/{{{qti.QTI}}}value").text
            assert response(item, right) == (1.0, "Right.")
            if isinstance(part, Choice | Diagnosis):
                options = part.options(p, answers) if isinstance(part, Choice) else part.options(p)
                for n, (_, wrong) in enumerate(options, 1):
                    score, feedback = response(item, f"c{n}")
                    assert score == (wrong.credit if wrong else 1.0) and feedback
                continue
            scale = answers[part.name] / float(right)
            for factor in (0.313, 0.9037, 0.9713, 0.9963, 1.0, 1.0043, 1.0317, 1.213, 4.17):      # beside the limits
                value = answers[part.name] * factor
                wanted = 1.0 if part.near(value, answers[part.name]) else next(
                    (m.credit for m in part.misconceptions if part.near(value, part.mistakes(p, answers)[m.name])), 0.0)
                assert response(item, repr(value / scale))[0] == pytest.approx(wanted), (t.name, part.name, factor)
            for m in part.misconceptions:
                score, feedback = response(item, repr(part.mistakes(p, answers)[m.name] / scale))
                assert score == pytest.approx(m.credit) and feedback not in ("Right.", None) and not feedback.startswith("Wanted")
            assert response(item, "-1") == (0.0, f"Wanted {units.format(answers[part.name], part.unit)}.") or isinstance(part, Fermi)
    assert kinds["Choice"] >= 10 and kinds["Part"] >= 100 and kinds["Fermi"] >= 3 and kinds["Diagnosis"] >= 3 and kinds["Design"] >= 3


def test_the_unit_that_is_asked_for_is_the_one_that_counts():
    t = load("memory/kv_cache")
    found, _ = qti.items([t])
    for name, text in found.items():
        item = ElementTree.fromstring(text)
        body = "".join(item.find(f"{{{qti.QTI}}}itemBody").itertext())
        unit = re.search(r"\(a number in ([^,]+),", body)
        if unit:
            part = t.part(name.rpartition("_")[2].removesuffix(".xml"))
            value = item.find(f".//{{{qti.QTI}}}correctResponse/{{{qti.QTI}}}value").text
            wanted = t.answers(variant(t, draws(t.name)["draws"][0]))[part.name]
            assert units.parse(f"{value} {unit[1]}", unit=part.unit)[0] == pytest.approx(wanted)


def test_the_same_questions_give_the_same_bytes_and_more_variants_more_items():
    some = TEMPLATES[:3]
    assert qti.package(some)[0] == qti.package(some)[0]
    assert qti.package(some, 4)[1] == 4 * qti.package(some)[1]
    with pytest.raises(CourseError, match="holds 200 variants, not 300; ask for fewer"):
        qti.package(some, 300)


def test_the_command_chooses_refuses_to_overwrite_and_complains_in_a_line(tmp_path):
    run = lambda *words: CliRunner().invoke(app, ["bank", *map(str, words)])  # noqa: E731
    out = tmp_path / "q.zip"
    assert f"would write {out}" in run(out, "--chapter", "V1-13", "--dry-run").stdout and not out.exists()
    done = run(out, "--chapter", "V1-13", "--variants", "2")
    wanted = [t for t in TEMPLATES if t.chapter == "V1-13"]
    assert f"{2 * sum(len(t.parts) for t in wanted)} items of {len(wanted)} templates" in done.stdout.replace("\n", "")
    assert len(zipfile.ZipFile(out).namelist()) == 2 * sum(len(t.parts) for t in wanted) + 1
    for words in ([out], [tmp_path / "a.zip", "--chapter", "V9-99"], [tmp_path / "a.zip", "--area", "cooking"],
                  [tmp_path / "a.zip", "--chapter", "V1-13", "--track", "global"], [tmp_path / "no" / "a.zip"]):
        said = run(*words).exception
        assert isinstance(said, CourseError) and "\n" not in str(said), words
