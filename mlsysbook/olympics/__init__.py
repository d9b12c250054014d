"""The Olympics of the course: entries are run again by the organiser, in the box, beside a reference, and ranked with intervals.

tracks.py budgets and events · task.py what is asked · package.py what an entry hands in · arrays.py models as bytes ·
inside.py the process in the box, boxed.py the parent's side of it · measure.py building and timing · scoring.py ratios,
intervals, ranks · event.py the organiser's folder · page.py the leaderboard · simulate.py a whole event, made up and run.
"""
