"""StaffML's questions as a QTI 2.1 package, which learning management systems take into a question bank.

One item for each part of a variant, with its scenario. A choice scores by the credit of each option, a number by the limits within which
it counts, in the unit that the question names; a design is free text with its rubric for whoever scores it. Every wrong answer with a
name has its feedback. The same questions give the same bytes.

Left behind, because QTI cannot say it: carrying a wrong step forward in a chain, and the falling credit of an estimate (an estimate
earns all within its factor and nothing outside). Source: IMS Question and Test Interoperability 2.1 final (2012).
"""

import hashlib
import io
import zipfile
from html import escape

from mlsysim import units
from staffml.parts import Choice, Design, Diagnosis, Fermi
from staffml.pools import draws, variant
from staffml.text import render
from staffml.variants import baked
from staffml.worked import worked

from ..errors import CourseError

QTI = "http://www.imsglobal.org/xsd/imsqti_v2p1"
PACKAGE = "http://www.imsglobal.org/xsd/imscp_v1p1"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def items(templates, variants=1):
    """{file name: XML} for the first `variants` variants of templates, and their titles {file name: title}."""
    found, titles = {}, {}
    for t in templates:
        pool = draws(t.name)["draws"]
        if variants > len(pool):
            raise CourseError(f"the pool of {t.name} holds {len(pool)} variants, not {variants}; ask for fewer")
        for i in pool[:variants]:
            p = variant(t, i)
            shown, told, answers = baked(t, i, p), worked(t, i, p), t.answers(p)
            for number, (part, said) in enumerate(zip(t.parts, told["parts"], strict=True), 1):
                name = f"{t.name.replace('/', '_').replace('-', '_')}_{i}_{part.name}"
                title = t.title + (f", {number} of {len(t.parts)}" if len(t.parts) > 1 else "")
                before = [x["question"] for x in told["parts"][:number - 1]]
                found[f"items/{name}.xml"] = _item(name, title, _scenario(shown, before), _body(t, p, part, said, answers))
                titles[f"items/{name}.xml"] = title
    return found, titles


def package(templates, variants=1):
    """The bytes of a zip file with a manifest -> (bytes, number of items)."""
    found, titles = items(templates, variants)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:      # stored: another zlib would give other bytes
        for name, text in (("imsmanifest.xml", _manifest(titles)), *sorted(found.items())):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, text.encode())
    return made.getvalue(), len(found)


def _manifest(titles):
    resources = "".join(
        f'<resource identifier="r_{_digest(name)}" type="imsqti_item_xmlv2p1" href="{name}"><file href="{name}"/></resource>\n'
        for name in sorted(titles))
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<manifest xmlns="{PACKAGE}" identifier="m_{_digest(*sorted(titles))}">\n'
            "<metadata><schema>QTIv2.1 Package</schema><schemaversion>1.0.0</schemaversion></metadata>\n<organizations/>\n"
            f"<resources>\n{resources}</resources>\n</manifest>\n")


def _digest(*texts):
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:16]


def _item(name, title, scenario, parts):
    declaration, interaction, processing, feedback = parts
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<assessmentItem xmlns="{QTI}" identifier="i_{escape(name)}" title="{escape(title)}" '
            'adaptive="false" timeDependent="false">\n'
            f"{declaration}\n"
            '<outcomeDeclaration identifier="SCORE" cardinality="single" baseType="float"><defaultValue><value>0</value></defaultValue>'
            "</outcomeDeclaration>\n"
            '<outcomeDeclaration identifier="MAXSCORE" cardinality="single" baseType="float"><defaultValue><value>1</value></defaultValue>'
            "</outcomeDeclaration>\n"
            '<outcomeDeclaration identifier="FEEDBACK" cardinality="single" baseType="identifier"/>\n'
            f"<itemBody>\n{scenario}{interaction}\n</itemBody>\n{processing}{feedback}</assessmentItem>\n")


def _scenario(shown, before):
    """The prompt, its table and the questions that were asked before, which a later one may refer to."""
    text = "".join(f"<p>{escape(t)}</p>\n" for t in shown["prompt"].split("\n\n"))
    if table := shown.get("table"):
        head = "".join(f"<th>{escape(str(c))}</th>" for c in table["columns"])
        rows = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in table["rows"])
        text += f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>\n"
    if before:
        text += "<p>Asked before this one:</p>\n<ol>" + "".join(f"<li>{escape(question)}</li>" for question in before) + "</ol>\n"
    return text


def _body(t, p, part, said, answers):
    if isinstance(part, Design):
        return _design(said)
    if isinstance(part, Choice | Diagnosis):
        options = part.options(p, answers) if isinstance(part, Choice) else part.options(p)
        return _choice(t, p, said, options)
    return _number(t, p, part, said, answers)


def _choice(t, p, said, options):
    right = next(n for n, (_, wrong) in enumerate(options, 1) if wrong is None)
    declaration = ('<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="identifier">'
                   f"<correctResponse><value>c{right}</value></correctResponse></responseDeclaration>")
    choices = "".join(f'<simpleChoice identifier="c{n}">{escape(text)}</simpleChoice>\n' for n, text in enumerate(said["choices"], 1))
    interaction = ('<choiceInteraction responseIdentifier="RESPONSE" shuffle="false" maxChoices="1">\n'
                   f"<prompt>{escape(said['question'])}</prompt>\n{choices}</choiceInteraction>")
    rules, feedback = [], []
    for n, (_, wrong) in enumerate(options, 1):
        test = f'<match><variable identifier="RESPONSE"/><baseValue baseType="identifier">c{n}</baseValue></match>'
        rules.append((test, 1.0 if wrong is None else wrong.credit, f"f{n}"))
        why = "Right." if wrong is None else render(wrong.why, p, t.figures) if wrong.why else f"{wrong.name}."
        feedback.append(_feedback(f"f{n}", why))
    return declaration, interaction, _processing(rules), "".join(feedback)


def _number(t, p, part, said, answers):
    right = answers[part.name]
    unit, scale = _unit(units.format(right, part.unit), part.unit)
    declaration = ('<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="float">'
                   f"<correctResponse><value>{_float(right / scale)}</value></correctResponse></responseDeclaration>")
    form = f"a number in {unit}" if unit else "a number"
    near = f"to within {100 * part.tolerance:g} %" if part.tolerance else "exactly"
    form += f", within a factor of {part.within:g}" if isinstance(part, Fermi) else f", {near}"
    interaction = (f'<p>{escape(said["question"])} ({escape(form)})</p>\n'
                   f'<p><textEntryInteraction responseIdentifier="RESPONSE" expectedLength="12"/> {escape(unit)}</p>')
    rules = [(_between(part, right, scale), 1.0, "right")]
    feedback = [_feedback("right", "Right.")]
    wrong = part.mistakes(p, answers)
    for n, m in enumerate(part.misconceptions, 1):
        why = render(m.why, p, t.figures) if m.why else f"{m.name}."
        rules.append((_between(part, wrong[m.name], scale), m.credit, f"w{n}"))
        feedback.append(_feedback(f"w{n}", why))
    return declaration, interaction, _processing(rules, "other"), "".join([*feedback, _feedback("other", f"Wanted {said['answer']}.")])


def _unit(printed, unit):
    """The unit that a value is printed in, and how many of the part's own unit it is: ("GB", 1e9)."""
    name = printed.partition(" ")[2].strip() if " " in printed else ""
    return (name, units.parse(f"1 {name}", unit=unit)[0]) if name else ("", 1.0)


def _between(part, value, scale):
    """Limits within which an answer counts as `value`; equality for a whole number."""
    variable = '<variable identifier="RESPONSE"/>'
    if isinstance(part, Fermi):
        low, high = value / part.within, value * part.within
    elif part.tolerance:
        low, high = value * (1 - part.tolerance), value * (1 + part.tolerance)
    else:
        return f'<equal toleranceMode="exact">{variable}{_base(value / scale)}</equal>'
    return f"<and><gte>{variable}{_base(low / scale)}</gte><lte>{variable}{_base(high / scale)}</lte></and>"


def _base(value):
    return f'<baseValue baseType="float">{_float(value)}</baseValue>'


def _float(value):
    return f"{value:.10g}"


def _design(said):
    declaration = '<responseDeclaration identifier="RESPONSE" cardinality="single" baseType="string"/>'
    rubric = "".join(f"<li>{100 * share:g} %: {escape(text)}</li>" for share, text in said["rubric"])
    interaction = (f'<rubricBlock view="scorer"><ul>{rubric}</ul></rubricBlock>\n'
                   '<extendedTextInteraction responseIdentifier="RESPONSE" expectedLines="12">'
                   f'<prompt>{escape(said["question"])}</prompt></extendedTextInteraction>')
    return declaration, interaction, "", ""


def _processing(rules, other=""):
    """The first rule that holds gives score and feedback; none: no points, and the feedback `other`."""
    lines = []
    for n, (test, credit, feedback) in enumerate(rules):
        tag = "responseIf" if n == 0 else "responseElseIf"
        lines.append(f'<{tag}>{test}<setOutcomeValue identifier="SCORE">{_base(credit)}</setOutcomeValue>{_shown(feedback)}</{tag}>\n')
    if other:
        lines.append(f"<responseElse>{_shown(other)}</responseElse>\n")
    return f"<responseProcessing>\n<responseCondition>\n{''.join(lines)}</responseCondition>\n</responseProcessing>\n"


def _shown(feedback):
    return f'<setOutcomeValue identifier="FEEDBACK"><baseValue baseType="identifier">{feedback}</baseValue></setOutcomeValue>'


def _feedback(name, text):
    return f'<modalFeedback outcomeIdentifier="FEEDBACK" identifier="{name}" showHide="show"><p>{escape(text)}</p></modalFeedback>\n'
