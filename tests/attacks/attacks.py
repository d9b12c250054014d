"""The attack set: submissions that try to get what they did not earn, or to break the grading of others.

Each is data: what it tries, what it may score, which flags the instructor must see. An item that `scores` does not name is
honest and must get its points. Text that an attack prints when it has got somewhere starts with PWNED; no such text may
come out of the box. Run in the pipeline by test_attacks.py and test_attacks_class.py; everything is bounded and harmless.
"""

from tests.attacks.escapes import ESCAPES
from tests.attacks.files import FILES
from tests.attacks.forbidden import FORBIDDEN
from tests.attacks.forgeries import FORGERIES
from tests.attacks.honest import HONEST, NAMES
from tests.attacks.identities import IDENTITIES
from tests.attacks.lies import LIES
from tests.attacks.outputs import OUTPUTS
from tests.attacks.patches import PATCHES
from tests.attacks.reads import READS
from tests.attacks.resources import RESOURCES

ATTACKS = [*LIES, *PATCHES, *FORGERIES, *READS, *IDENTITIES, *FILES, *OUTPUTS, *RESOURCES, *ESCAPES, *FORBIDDEN, *NAMES, *HONEST]

__all__ = ["ATTACKS", "FORBIDDEN", "HONEST"]
