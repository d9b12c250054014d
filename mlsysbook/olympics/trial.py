"""A student's own run of an entry: the organiser's, on the task for practice."""

import shutil
from dataclasses import dataclass

from ..box import library
from . import measure, package, task
from .boxed import Fault
from .tracks import TRACKS, Track


@dataclass(frozen=True)
class Trial:
    """What became of an entry: result as measure.measured gives it, or a fault (kind, reason)."""

    track: Track
    sha256: str
    result: dict
    fault: tuple | None


def check(folder):
    """Build and measure the entry in a folder -> Trial. Raises PackageError for one that cannot be read."""
    entry = package.read(folder)
    track, made, staged = TRACKS[entry.manifest.track], task.practice(), library.stage_event()
    try:
        ref = measure.reference(track)
        ref_model, _ = measure.build(ref, track, made, staged)
        model, _ = measure.build(entry, track, made, staged)
        return Trial(track, entry.sha256, measure.measured(entry, model, ref, ref_model, track, made, staged), None)
    except Fault as fault:
        return Trial(track, entry.sha256, {}, (fault.kind, str(fault)))
    finally:
        shutil.rmtree(staged, ignore_errors=True)
