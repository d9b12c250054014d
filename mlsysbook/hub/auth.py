"""Authenticators that know the class. The roster is read at every login, so a student added today gets in today."""

from secrets import compare_digest

from jupyterhub.auth import Authenticator, PAMAuthenticator
from traitlets import Bool, Set, Unicode

from . import accounts
from .settings import roster


class _OfClass(Authenticator):
    """Lets in instructors and students of one class who have an ordinary Unix account, and nobody else."""

    db_url = Unicode(help="URL of the class's gradebook").tag(config=True)
    instructors = Set(Unicode()).tag(config=True)
    alone = Bool(False, help="only the names in `instructors`, whatever the roster says").tag(config=True)

    def check_allowed(self, username, authentication=None):
        if self.alone:
            return username in self.instructors
        why = accounts.problem(username)
        if why:
            self.log.warning("login of %s refused: %s", username, why)
            return False
        return username in self.instructors or username in roster(self.db_url)


class ClassPAM(_OfClass, PAMAuthenticator):
    """The machine's own passwords."""


class ClassPassword(_OfClass):
    """One password for all students, another for instructors: for trying a class out among people who trust each other."""

    student_password = Unicode(allow_none=True, default_value=None).tag(config=True)
    instructor_password = Unicode(allow_none=True, default_value=None).tag(config=True)

    async def authenticate(self, handler, data):
        name = self.normalize_username(data["username"])
        wanted = self.instructor_password if name in self.instructors else self.student_password
        if wanted and compare_digest(data["password"].encode(), wanted.encode()):
            return name
        return None
