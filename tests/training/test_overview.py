"""What the first panel says."""

from __future__ import annotations

import pytest

from embedctl.training.feeder import Schedule
from embedctl.training.overview import _steps


@pytest.mark.parametrize(
    ("schedule", "start", "words"),
    [
        (Schedule(13, 1, 2), 0, "26 (2 epochs of 13)"),
        (Schedule(13, 2, 1), 0, "7 (one epoch)"),
        (Schedule(13, 1, 2, max_steps=1), 0, "1 by --max-steps (an epoch has 13)"),
        (Schedule(13, 1, 2, max_steps=2000), 9, "2,000 by --max-steps (an epoch has 13), from step 9"),
    ],
)
def test_the_steps_are_those_that_will_be_done(schedule, start, words):
    assert _steps(schedule, start) == words
