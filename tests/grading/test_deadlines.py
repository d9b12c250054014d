"""When work is due and what lateness costs."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysbook.errors import ClassError
from mlsysbook.grading.deadlines import LatePolicy, due, duration, spell


@pytest.mark.parametrize(("text", "utc", "said"), [
    ("2026-12-01 23:59 Europe/Berlin", "2026-12-01 22:59", "2026-12-01 23:59 Europe/Berlin = 2026-12-01 22:59 UTC"),
    ("2026-07-01 23:59 Europe/Berlin", "2026-07-01 21:59", "2026-07-01 23:59 Europe/Berlin = 2026-07-01 21:59 UTC"),
    ("2026-12-01 23:59", "2026-12-01 23:59", "2026-12-01 23:59 UTC"),
    ("2026-12-01T23:59:30Z", "2026-12-01 23:59", "2026-12-01 23:59:30 Z = 2026-12-01 23:59 UTC"),
    ("2026-12-01 9:05 +05:30", "2026-12-01 03:35", "2026-12-01 09:05 +05:30 = 2026-12-01 03:35 UTC"),
    ("2026-12-01 00:00 +1400", "2026-11-30 10:00", "2026-12-01 00:00 +1400 = 2026-11-30 10:00 UTC"),
    ("2026-12-01 Asia/Kolkata", "2026-12-01 18:29", "2026-12-01 23:59 Asia/Kolkata = 2026-12-01 18:29 UTC"),
    (datetime(2026, 12, 1, 23, 59), "2026-12-01 23:59", "2026-12-01 23:59 UTC"),
    (date(2026, 12, 1), "2026-12-01 23:59", "2026-12-01 23:59 UTC"),
    ("2026-10-25 02:30 Europe/Berlin", "2026-10-25 01:30", "2026-10-25 02:30 Europe/Berlin = 2026-10-25 01:30 UTC"),  # the later of two
])
def test_a_due_date_is_read_and_said_back_with_its_zone(text, utc, said):
    moment = due(text)
    assert f"{moment.at:%Y-%m-%d %H:%M}" == utc and moment.at.utcoffset() == timedelta(0)
    assert str(moment) == said
    assert moment.naive == moment.at.replace(tzinfo=None)


@pytest.mark.parametrize(("text", "said"), [
    ("next Friday", "wants a day, a time and a zone"),
    ("2026-13-01 23:59", "month must be in 1..12"),
    ("2026-12-01 25:00", "hour must be in 0..23"),
    ("2026-12-01 23:59 Europe/Berln", "unknown time zone 'Europe/Berln'; did you mean Europe/Berlin?"),
    ("2026-12-01 23:59 berlin", "did you mean Europe/Berlin?"),
    ("2026-12-01 23:59 +25:00", "an offset lies between -14:00 and +14:00"),
    ("2026-12-01 23:59 $$$", "wants a name such as Europe/Berlin"),
    ("2026-03-29 02:30 Europe/Berlin", "clocks in Europe/Berlin skip that time"),
    ("9999-12-31 23:59 -10:00", "wants a year between 2000 and 2199"),
    ("", "wants a day"),
])
def test_a_due_date_that_is_none_says_what_it_wants(text, said):
    with pytest.raises(ClassError) as caught:
        due(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "hours"), [("2d", 48), ("+36h", 36), ("1w2d", 216), ("90m", 1.5), ("1.5d", 36), ("0", 0), ("1d 12h", 36)])
def test_an_extension_is_read(text, hours):
    assert duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "soon", "2", "d", "2 days", "-2d", "2d!", "9999d", "1e9d"])
def test_an_extension_that_is_none_is_an_error(text):
    with pytest.raises(ClassError, match="extension"):
        duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=300)))
def test_an_extension_is_spelled_as_it_is_read(delta):
    assert abs(duration(spell(delta)) - delta) <= timedelta(seconds=30)


@pytest.mark.parametrize(("seconds", "percent"), [(0, 0), (15 * 60, 0), (15 * 60 + 1, 10), (86400, 10), (86401, 20), (4 * 86400 + 1, 50),
                                                  (400 * 86400, 50)])
def test_lateness_costs_by_days_begun_after_the_grace_up_to_the_most(seconds, percent):
    policy = LatePolicy(grace_minutes=15, percent_per_day=10, max_percent=50)
    assert policy.percent(seconds) == percent
    assert policy.penalty(8.0, seconds) == pytest.approx(8.0 * percent / 100)


@given(late=st.floats(0, 1e9), more=st.floats(0, 1e9), score=st.floats(0, 1e6), rate=st.floats(0, 1000), most=st.floats(0, 100))
def test_a_penalty_never_exceeds_the_score_and_never_falls(late, more, score, rate, most):
    policy = LatePolicy(0, rate, most)
    assert 0 <= policy.penalty(score, late) <= policy.penalty(score, late + more) <= score


def test_no_policy_costs_nothing():
    assert LatePolicy().penalty(10, 1e9) == 0
