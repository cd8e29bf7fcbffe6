"""Progress that workers note in files."""

from hypothesis import given
from hypothesis import strategies as st

from understudy.core.executors.progress_slots import SLOT, Slot, slot_in, total_of


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5))
def test_the_last_note_is_the_sum_of_all_jobs(jobs):
    notes = [(0, 0)]
    slot = Slot(lambda *state: notes.append(state))
    for amounts in jobs:
        slot.begin()
        for amount in amounts:
            slot.add(amount)
        slot.finish()
    assert notes[-1] == (sum(map(sum, jobs)), 0)


def test_a_worker_that_is_started_again_keeps_what_was_finished(tmp_path):
    path = tmp_path / f"{SLOT}0"
    slot = slot_in(path)
    slot.begin()
    slot.add(3)
    slot.finish()
    slot.begin()
    slot.add(4)  # then it dies
    again = slot_in(path)
    again.begin()
    again.add(2)
    again.finish()
    slot_in(tmp_path / f"{SLOT}1").finish()
    assert total_of(tmp_path) == 5
