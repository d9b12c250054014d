"""Directives of the instructors' pages: {syllabus} PLAN, and {for-teachers} with what graders read, from where grading reads it."""

import sys

from sphinx.errors import ExtensionError

from .contents import ROOT, FromCatalogue, course

LEFT_OUT = "*The students' build of the book leaves this out.*"


class Teaching(FromCatalogue):
    required_arguments = 1
    final_argument_whitespace = True

    def made(self, text):
        from docutils import nodes

        for path in (*sorted((ROOT / "mlsysbook/teach").glob("*.*")), *(a.author_source for a in course().assignments)):
            self.env.note_dependency(str(path))
        return self.parsed(text, nodes.container()).children


class SyllabusOf(Teaching):
    """A plan without dates: notes, table, weights."""

    def run(self):
        from mlsysbook.teach import formats
        from mlsysbook.teach.syllabus import syllabus

        return self.made(formats.markdown(syllabus(course(), self.arguments[0])).partition("\n")[2])


class ForTeachers(Teaching):
    """by-hand, weights, decision; and what students should not see: schemes PART..., challenges, calibration."""

    def run(self):
        from mlsysbook.teach import rubrics

        what, *rest = self.arguments[0].split()
        if what in ("schemes", "challenges", "calibration") and self.env.app.tags.has("student"):
            return self.made(LEFT_OUT)
        if what == "schemes":
            found = [s for s in rubrics.schemes(course()) if s.where in rest or s.where.split("/")[0] in rest]
            if not found:
                raise ExtensionError(f"{self.env.docname}: no mark scheme of {' '.join(rest)}")
            return self.made("\n".join(map(rubrics.fold, found)))
        if what == "challenges":
            return self.made("\n".join(map(rubrics.challenge_markdown, rubrics.challenges())))
        made = {"calibration": rubrics.calibration_markdown, "decision": rubrics.decision_markdown,
                "by-hand": lambda: rubrics.by_hand_markdown(course()), "weights": lambda: rubrics.weights_markdown(course())}
        if what not in made:
            raise ExtensionError(f"{self.env.docname}: {{for-teachers}} {what}; wants schemes, challenges, {', '.join(made)}")
        return self.made(made[what]())


def setup(app):
    for folder in ("interviews", "sim"):
        if str(ROOT / folder) not in sys.path:
            sys.path.append(str(ROOT / folder))             # plain Sphinx runs in an environment that has no staffml
    app.add_directive("syllabus", SyllabusOf)
    app.add_directive("for-teachers", ForTeachers)
