"""Pages of the newsletter: figures of an issue are computed when it is read, its feed is named in the head of each."""

from sphinx.errors import ExtensionError

from .contents import ROOT, course

HEAD = '<link rel="alternate" type="application/atom+xml" title="ML Systems newsletter" href="feed.xml" />\n'


def setup(app):
    app.connect("source-read", fill)
    app.connect("html-page-context", name_feed)


def fill(app, docname, source):
    if docname.startswith("newsletter/"):
        course()                            # where plain Sphinx has no mlsysbook, it finds it from here on
        from mlsysbook import newsletter

        for path in newsletter.inputs(ROOT):
            app.env.note_dependency(str(path))
        try:
            source[0] = newsletter.page(ROOT, docname, source[0])
        except newsletter.IssueError as error:
            raise ExtensionError(str(error)) from None


def name_feed(app, pagename, templatename, context, doctree):
    if pagename.startswith("newsletter/") and app.builder.name != "epub":
        context["metatags"] = context.get("metatags", "") + HEAD
