"""Directives that read the catalogue: {where-used} on a chapter, {course-map} VOLUME on the map, {key-terms} in the glossary."""

import sys
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[3]


@cache
def course():
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))       # plain Sphinx runs in an environment that has no mlsysbook
    from mlsysbook import catalogue

    return catalogue.load(ROOT)


class FromCatalogue(SphinxDirective):
    @property
    def _(self):
        """From an English text to that of the language of this build."""
        from mlsysbook.book import translate

        return translate.words(ROOT, self.env.config.language)

    def parsed(self, text, into):
        """`text` as the nodes it makes in this page, which is read again when the catalogue changes."""
        for path in (ROOT / "course.yml", ROOT / "mlsysbook" / "book" / "site.py"):
            self.env.note_dependency(str(path))
        self.state.nested_parse(StringList(text.split("\n"), "course.yml"), self.content_offset, into)
        return into


class WhereUsed(FromCatalogue):
    """The box "Where this is used" of the chapter that it stands in."""

    def run(self):
        from mlsysbook.book import site

        chapter = next((c for c in course().chapters if c.file == self.env.docname), None)
        if chapter is None:
            raise ExtensionError(f"{self.env.docname}: {{where-used}} belongs on a chapter of course.yml")
        box = nodes.sidebar("", nodes.title("", self._("Where this is used")), classes=["margin", "mls-where"])
        return [self.parsed(site.where(course(), chapter, self._), box)]


class CourseMap(FromCatalogue):
    """The map of a volume: drawing, list of prerequisites, table."""

    required_arguments = 1

    def run(self):
        from mlsysbook.book import site

        volume, holder = int(self.arguments[0]), nodes.container()
        drawing = nodes.raw("", f'<figure class="mls-figure">{site.graph(course(), volume, self._)}</figure>', format="html")
        words = f":::{{dropdown}} {self._('The same in words')}\n{site.prerequisites(course(), volume, self._)}\n:::\n\n"
        return [drawing, *self.parsed(words + site.course_map(course(), volume, self._), holder).children]


class KeyTerms(FromCatalogue):
    """The key terms of all chapters, as a glossary."""

    def run(self):
        from mlsysbook.book import site

        for chapter in course().chapters:
            self.env.note_dependency(str(ROOT / "book" / f"{chapter.file}.md"))
        return self.parsed(site.glossary(course()), nodes.container()).children


def setup(app):
    app.add_directive("where-used", WhereUsed)
    app.add_directive("course-map", CourseMap)
    app.add_directive("key-terms", KeyTerms)
    app.connect("config-inited", lambda app, config: course())
