"""scenario: the same lab on four tracks. A student's track is the first that the lab's log names, else their choice, else a lot.

The log is the one of predictions: its first entry "@track" decides, in the notebook, in the box and for the judge alike.
"""

import difflib
import hashlib
import json
from pathlib import Path

from ..answers import mode, predict
from ..answers.identity import identity, normal, sidecar
from . import ledger

TRACKS = ("cloud", "edge", "mobile", "tiny")
ENTRY = "@track"


class TrackError(ValueError):
    """A track, or a value of a scenario, that there is not. Shown in a notebook as its message alone."""

    def _render_traceback_(self):
        return [str(self)]


def scenario(**tracks):
    """The situation of this student's track -> Scenario. Each track gives a title, a story and the same further values.

    The first run writes the track to the lab's log, so that a later choice does not move a lab that was begun.
    """
    offered = _checked(tracks)
    if mode.handler is not None and hasattr(mode.handler, "scenario"):
        return Scenario(tracks, mode.handler.scenario(offered))
    track = current(offered)
    if sidecar() and not ledger.in_box() and of_log(predict.own_log(), offered) is None:
        predict.append(Path(predict.LOG), predict.genesis(), ENTRY, track, "", "")
    return Scenario(tracks, track)


def _checked(tracks):
    for name in tracks:
        if name not in TRACKS:
            raise TrackError(f"scenario: {name!r} is no track; there are {', '.join(TRACKS)}")
    if not tracks:
        raise TrackError(f"scenario: wants the values of at least one track: {', '.join(TRACKS)}")
    wanted = set().union({"title", "story"}, *tracks.values())
    for name, values in tracks.items():
        if lost := sorted(wanted - set(values)):
            raise TrackError(f"scenario: the track {name} has no {lost[0]}; all tracks have the same values")
    return tuple(t for t in TRACKS if t in tracks)


class Scenario:
    """Values of one track as attributes, as they were written; `si("rate")` is a value in SI units, `of("edge")` another track."""

    def __init__(self, tracks, track):
        self._tracks, self.track = tracks, track

    def __getattr__(self, name):
        values = self._tracks[self.track] if not name.startswith("_") else {}
        if name not in values:
            near = difflib.get_close_matches(name, values, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(values)}" if values else ""
            raise AttributeError(f"scenario: there is no {name}{hint}")
        return values[name]

    def si(self, name):
        """The value `name` as a number in SI units: "40 ms" is 0.04."""
        from mlsysim.units import parse

        value = getattr(self, name)
        return parse(value)[0] if isinstance(value, str) else value

    def of(self, track):
        """The same scenario on another track."""
        if track not in self._tracks:
            raise TrackError(f"scenario: {track!r} is no track of it; there are {', '.join(self._tracks)}")
        return Scenario(self._tracks, track)

    def _rows(self):
        return [(k.replace("_", " "), str(v)) for k, v in self._tracks[self.track].items() if k not in ("title", "story")]

    def _repr_markdown_(self):
        rows = "\n".join(f"| {name} | {value} |" for name, value in self._rows())
        return f"**Your track: {self.track}. {self.title}**\n\n{self.story}\n\n| | |\n|---|---|\n{rows}\n"

    def __repr__(self):
        rows = "".join(f"\n  {name:<24} {value}" for name, value in self._rows())
        return f"Your track: {self.track}. {self.title}\n{self.story}{rows}"


def choose(track):
    """Choose the track of every lab that you have not begun yet."""
    if track not in TRACKS:
        near = difflib.get_close_matches(str(track), TRACKS, n=1)
        raise TrackError(f"choose: got {track!r}; there are {', '.join(TRACKS)}" + (f"; did you mean {near[0]}?" if near else ""))
    ledger.Ledger(sidecar().get("course", ""), ledger.COURSE).put("track", track)
    print(f"track: {track}, in every lab that you have not begun yet")


def current(offered):
    """This student's track among those that are offered."""
    baked, path = sidecar(), Path(predict.LOG)
    entries = predict.verify(path.read_text(encoding="utf-8", errors="replace"), predict.genesis())[0] if path.is_file() else []
    course = baked.get("course", "")
    chosen = ledger.Ledger(course, ledger.COURSE).look("track")
    return of_log(entries, offered) or (chosen if chosen in offered else lot(course, identity(), offered))


def of_log(entries, offered):
    """The track that a verified log fixes, or None."""
    return next((e["text"] for e in entries if e["name"] == ENTRY and e["text"] in offered), None)


def lot(course, student, offered):
    """The track of a student who chose none: SHA-256 of who they are, so that it is the same in every lab."""
    key = "\x1f".join(("track", course, normal(student))).encode()
    return offered[int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % len(offered)]


def offered_by(pool):
    """Tracks that a pool of variants has, in their order; () if it knows no tracks."""
    have = {v.get("track") for v in pool}
    return tuple(t for t in TRACKS if t in have)


def problem(pool):
    """What is wrong with the tracks of a pool, in one line, or None. All of its variants have one, or none has."""
    if not any("track" in v for v in pool):
        return None
    odd = next((v for v in pool if v.get("track") not in TRACKS), None)
    return f"a variant has the track {odd.get('track')!r}; all want one of {', '.join(TRACKS)}: {json.dumps(odd)[:80]}" if odd else None
