"""Trackers of a run's curves. To add one: a class (see training/trackers.py) and a line in `TRACKERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

# What accelerate is given for each value of --log-with: its own name of a tracker, which is also the package that it
# needs, or the place `module:class` of an accelerate tracker of ours.
TRACKERS = {"wandb": "wandb", "tensorboard": "tensorboard", "trackio": "trackio", "none": ""}

if TYPE_CHECKING:
    Tracker = str
else:
    Tracker = Literal[tuple(TRACKERS)]
