"""The device on which a model runs."""

from __future__ import annotations

import torch

from embedctl.errors import ModelError


def select_device(device: str | None = None) -> torch.device:
    """Return the given device; by default a GPU if one is available, else Apple's MPS, else the CPU.

    Raises:
        ModelError: the device is not available.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise ModelError(
            f"--device {device}: this device is not available",
            "use --device cpu, or run `embedctl doctor` to list the devices",
        ) from cause
    return torch.device(device)
