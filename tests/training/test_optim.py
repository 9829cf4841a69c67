"""The learning rate of each step, the batches of each step, and the parameters with weight decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embedctl.config import OptimSection
from embedctl.training.batch_loader import Schedule
from embedctl.training.optim import lr_at, parameter_groups


def config(**changes) -> OptimSection:
    return OptimSection(lr=1.0, **changes)


def test_linear_schedule_rises_and_is_zero_at_the_last_step():
    rates = [lr_at(step, 10, config(warmup_proportion=0.2)) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0.0])


@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
@pytest.mark.parametrize("accumulation", [1, 2, 3, 5])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_learning_rate_is_zero_at_the_last_step_for_any_processes_and_accumulation(scheduler, accumulation, processes):
    batches = -(-1000 // (8 * processes))
    schedule = Schedule(batches, accumulation, epochs=3)
    optim = config(lr_scheduler=scheduler)
    rates = [lr_at(step, schedule.total_steps, optim) for step in range(schedule.total_steps)]
    assert rates[-1] == 0.0
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_every_batch_is_in_exactly_one_step():
    schedule = Schedule(7, 3, epochs=2)
    assert schedule.total_steps == 6
    assert [batch for step in range(6) for batch in schedule.batches(step)] == [
        (epoch, index) for epoch in range(2) for index in range(7)
    ]
    assert [schedule.ends_epoch(step) for step in range(6)] == [False, False, True] * 2


def test_max_steps_sets_the_number_of_steps():
    assert Schedule(7, 1, epochs=2, max_steps=3).total_steps == 3
    assert Schedule(7, 1, epochs=2, max_steps=30).batches(29) == [(4, 1)]


class RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


def test_biases_and_norms_have_no_weight_decay():
    model = nn.ModuleDict(
        {"linear": nn.Linear(4, 4), "norm": nn.LayerNorm(4), "rms": RMSNorm(), "table": nn.Embedding(3, 4)}
    )
    with_decay, without_decay = parameter_groups(model, 0.01)
    assert with_decay["weight_decay"] == 0.01
    assert without_decay["weight_decay"] == 0.0
    assert {id(weight) for weight in with_decay["params"]} == {id(model["linear"].weight), id(model["table"].weight)}
    assert len(without_decay["params"]) == 4
