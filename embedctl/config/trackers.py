"""Names of the experiment trackers. To add one: a class (see training/trackers.py) and an entry in `TRACKERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

# Value of --log-with to what accelerate receives: the name of one of its trackers, which is also the name of the
# required package, or `module:class` of a tracker class in this package.
TRACKERS = {"wandb": "wandb", "tensorboard": "tensorboard", "trackio": "trackio", "none": ""}

if TYPE_CHECKING:
    Tracker = str
else:
    Tracker = Literal[tuple(TRACKERS)]
