"""The late policy of class.yml as nbgrader's plugin, and the same rule applied again when scores or dates have changed."""

from nbgrader.api import SubmittedAssignment
from nbgrader.plugins import LateSubmissionPlugin
from traitlets import Float

from .deadlines import LatePolicy


class DailyPenalty(LateSubmissionPlugin):
    """A share of the score for every day begun; see LatePolicy."""

    grace_minutes = Float(0.0, help="Lateness that costs nothing, in minutes.").tag(config=True)
    percent_per_day = Float(0.0, help="Percent of the score for every day begun since the due date.").tag(config=True)
    max_percent = Float(100.0, help="The most that lateness takes, in percent of the score.").tag(config=True)

    def late_submission_penalty(self, student_id, score, total_seconds_late):
        policy = LatePolicy(self.grace_minutes, self.percent_per_day, self.max_percent)
        return policy.penalty(score, total_seconds_late) or None


def refresh(gradebook, policy, assignment_id):
    """Work out every penalty of an assignment from its scores as they are now. -> number of notebooks that changed.

    nbgrader sets a penalty when it autogrades, so points given by hand later, an extension or a new policy miss it.
    """
    changed = 0
    for submission in gradebook.db.query(SubmittedAssignment).join(SubmittedAssignment.assignment).filter_by(name=assignment_id):
        if submission.timestamp is None:
            continue
        seconds = submission.total_seconds_late
        for notebook in submission.notebooks:
            penalty = min(policy.penalty(notebook.score, seconds), notebook.score) or None
            if abs((notebook.late_submission_penalty or 0.0) - (penalty or 0.0)) > 1e-9:
                notebook.late_submission_penalty = penalty
                changed += 1
    gradebook.db.commit()
    return changed
