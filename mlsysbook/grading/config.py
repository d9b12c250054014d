"""Configuration of nbgrader for a class: one set of settings for our commands, for stock ones and for the formgrader."""

import logging
from pathlib import Path

from .. import catalogue
from ..errors import CourseError
from .classroom import Classroom

# Besides nbgrader's own: what a browser would run if an instructor opened it from the tree, and what is only bulk.
IGNORED = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", ".git", "*.htm", "*.html", "*.xhtml", "*.svg", "*.js"]


def settings(c, classroom):
    """Fill `c`, a traitlets Config, for one class."""
    c.CourseDirectory.root = str(classroom.root)
    c.CourseDirectory.course_id = classroom.course_id
    c.CourseDirectory.db_url = classroom.db_url
    c.CourseDirectory.ignore = IGNORED
    c.Exchange.root = str(classroom.exchange)
    c.ExchangeFactory.collect = "mlsysbook.grading.collect.Collect"
    c.ExchangeFactory.release_assignment = "mlsysbook.grading.release.Release"
    c.ExchangeFactory.release_feedback = "mlsysbook.grading.feedback.ReleaseFeedback"
    c.ExchangeCollect.check_owner = classroom.check_owner
    c.AssignLatePenalties.plugin_class = "mlsysbook.grading.late.DailyPenalty"
    c.DailyPenalty.grace_minutes = classroom.late.grace_minutes
    c.DailyPenalty.percent_per_day = classroom.late.percent_per_day
    c.DailyPenalty.max_percent = classroom.late.max_percent
    c.ExportApp.plugin_class = "mlsysbook.grading.export.Grades"
    _grading(c, classroom)
    _pages(c)


def _grading(c, classroom):
    """Stock `nbgrader autograde`: the submission is vetted, run in the box and judged outside."""
    from nbgrader import preprocessors as stock

    from .preprocessors import BoxAndJudge, TolerantExporter, Vet

    c.Autograde.exporter_class = TolerantExporter
    c.Autograde.sanitize_preprocessors = [Vet, stock.ClearOutput, stock.DeduplicateIds, stock.OverwriteKernelspec, stock.OverwriteCells,
                                          stock.CheckCellMetadata]
    c.Autograde.autograde_preprocessors = [BoxAndJudge, stock.SaveAutoGrades, stock.AssignLatePenalties, stock.CheckCellMetadata]
    course = str(catalogue.find_root(classroom.root))
    c.Vet.course_root = c.BoxAndJudge.course_root = course
    c.Vet.class_root = c.BoxAndJudge.class_root = str(classroom.root)


def _pages(c):
    """Pages that show what students wrote: the feedback is ours, the formgrader's are nbgrader's with inert contents."""
    from .feedback import FeedbackExporter, Results

    c.GenerateFeedback.exporter_class = FeedbackExporter
    c.GenerateFeedback.preprocessors = [Results]
    c.Results.root = c.CourseDirectory.root
    c.HTMLExporter.default_preprocessors = ["mlsysbook.grading.inert.Inert",        # before any other looks at the notebook
                                            "nbconvert.preprocessors.HighlightMagicsPreprocessor",
                                            "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"]
    c.HTMLExporter.filters = {"markdown2html": "mlsysbook.grading.inert.markdown_filter"}
    c.HTMLExporter.embed_images = False             # True would read files that a notebook names


def configure(c, where):
    """What nbgrader_config.py of a class folder calls. `where`: that file, or its folder.

    A class.yml that cannot be read must not leave stock nbgrader with its own, unboxed way of grading, and nbgrader goes
    on after a configuration that raised. So grading is then set to refuse, with the reason.
    """
    root = Path(where).resolve()
    root = root if root.is_dir() else root.parent
    try:
        settings(c, Classroom.open(root))
    except CourseError as error:
        logging.getLogger("traitlets").error("mlsys: %s", error)
        c.CourseDirectory.root = str(root)
        c.Autograde.sanitize_preprocessors = c.Autograde.autograde_preprocessors = [_refusal(str(error))]
        _pages(c)


def _refusal(why):
    from nbgrader.preprocessors import NbGraderPreprocessor

    class Refuse(NbGraderPreprocessor):
        """Grades nothing."""

        def preprocess(self, nb, resources):
            raise CourseError(f"not graded: {why}")

    return Refuse
