"""The number of steps in the panel that is printed before training, and the warnings after it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from embedctl.data.row_warnings import find_warnings
from embedctl.data.rows import NOT_USED, Row
from embedctl.training.batch_loader import Schedule
from embedctl.training.overview import _steps, _strategy, _warn_of_keys_not_used


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


def test_keys_that_training_does_not_use_are_reported_in_the_words_of_validate_data(capsys):
    _warn_of_keys_not_used({"scores": 1, "neg": 2000})
    assert capsys.readouterr().err.splitlines() == [
        "warning: 1 row has both scores and pos_scores; training uses pos_scores and neg_scores and ignores scores",
        "warning: 2,000 rows have both scores and neg; training uses scores and ignores neg",
    ]
    (finding,) = find_warnings(Row("q", ("a",), scores=(1.0,), pos_scores=(2.0,)), 0)
    assert finding.message == f"the row has {NOT_USED['scores']}"


def test_a_strategy_of_one_process_is_reported():
    assert _strategy("auto", SimpleNamespace()) == ""
    assert _strategy("fsdp", SimpleNamespace()) == " (--strategy fsdp has no effect with one process)"
