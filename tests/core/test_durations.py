"""Lengths of time as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.durations import read_duration, short_duration
from understudy.core.errors import InputError


@given(st.floats(0.001, 10**7))
def test_what_is_written_is_read_again_and_no_shorter(seconds):
    read = read_duration(short_duration(seconds))
    assert seconds <= read <= seconds + (1 if seconds < 600 else 60)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h", 7200), (" 1h30m5s ", 5405), ("1.5m", 90)])
def test_units_may_be_left_out_and_have_fractions(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "-3m", "nan", "infh", "30 m", "m", "30m1h", "1d", "10min", "٣m"])
def test_other_forms_are_refused(text):
    with pytest.raises(InputError, match="must be written as 90s, 30m, 2h or 1h30m, with its units, got"):
        read_duration(text)
