"""The number of steps in the panel that is printed before training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from embedctl.training.batch_loader import Schedule
from embedctl.training.overview import _steps, _strategy


@pytest.mark.parametrize(
    ("schedule", "start", "text"),
    [
        (Schedule(13, 1, 2), 0, "26 (2 epochs, 13 per epoch)"),
        (Schedule(13, 2, 1), 0, "7 (1 epoch, 7 per epoch)"),
        (Schedule(13, 1, 2, max_steps=1), 0, "1 (--max-steps; 13 per epoch)"),
        (Schedule(13, 1, 2, max_steps=2000), 9, "2,000 (--max-steps; 13 per epoch), resumed after step 9"),
    ],
)
def test_the_overview_states_the_number_of_steps(schedule, start, text):
    assert _steps(schedule, start) == text


def test_a_strategy_of_one_process_is_reported():
    assert _strategy("auto", SimpleNamespace()) == ""
    assert _strategy("fsdp", SimpleNamespace()) == " (--strategy fsdp has no effect with one process)"
