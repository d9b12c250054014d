"""A box with a real Jupyter kernel inside, for notebooks that need one: widgets, comms, display hooks.

The same box, limits, time-keeping and messages as session.py, which sees no difference: kernel_worker.py in place of
runner.py runs the cells in an ipykernel beside its client. Both ends of Jupyter's protocol stay inside, so no socket,
connection file or message of the kernel ever reaches this side.
"""

from .session import Session


class KernelSession(Session):
    """One submission in one box, run by an ipykernel: `KernelSession(...).run(cells, folder, student)`."""

    program = "kernel_worker.py"
