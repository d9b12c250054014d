"""What one submission may use."""

from dataclasses import dataclass, fields

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of one run in the box. Times in seconds of wall clock unless they say CPU; sizes in bytes."""

    cell_seconds: float = 30.0          # one ordinary cell
    check_seconds: float = 15.0         # one graded cell, hidden cases included
    total_seconds: float = 240.0        # everything together
    cpu_seconds: int = 120              # CPU of one process
    memory: int = 2048 * MIB            # all processes together (cgroup or watchdog); each one by RLIMIT_AS
    processes: int = 64
    open_files: int = 256
    file_bytes: int = 64 * MIB          # one file
    disk_bytes: int = 256 * MIB         # the submission folder and /tmp, each
    output_bytes: int = 100_000         # shown of one cell
    record_bytes: int = 16 * MIB        # of one graded cell

    @classmethod
    def of(cls, assignment):
        """The defaults, changed as course.yml says for this assignment."""
        known = {f.name: f.type for f in fields(cls)}
        unknown = [k for k, _ in assignment.limits if k not in known]
        if unknown:
            from ..errors import CatalogueError
            raise CatalogueError(f"{assignment.name}: unknown limit {unknown[0]!r}; known: {', '.join(known)}")
        return cls(**{k: type(getattr(cls, k))(v) for k, v in assignment.limits})
