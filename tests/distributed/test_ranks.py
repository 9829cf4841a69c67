"""Rank, world size and exchange of values, with one process and with two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import torch

from embedctl.distributed.ranks import (
    any_rank,
    broadcast,
    gather_values,
    gather_vectors,
    is_main,
    owns,
    rank,
    world_size,
)

EXCHANGE = """
import json, torch
from embedctl.distributed.ranks import any_rank, broadcast, gather_values, gather_vectors
from embedctl.distributed.ranks import init_distributed, is_main, owns, rank, world_size

assert init_distributed(cpu=True).startswith("cpu")
own = torch.full((rank() + 1, 2), float(rank()), requires_grad=True)
gathered = gather_vectors(own, [1, 2])
gathered.sum().backward()
print(json.dumps([
    rank(), world_size(), is_main(), [index for index in range(5) if owns(index)],
    broadcast(["of", rank()]), gather_values({"rank": rank()}), any_rank(rank() == 1, torch.device("cpu")),
    any_rank(False, torch.device("cpu")), gathered.tolist(), own.grad.tolist(),
]))
"""


def test_with_one_process_values_are_returned_unchanged():
    assert (rank(), world_size(), is_main(), owns(3)) == (0, 1, True, True)
    assert (broadcast("value"), gather_values("value")) == ("value", ["value"])
    assert any_rank(True, torch.device("cpu"))
    vectors = torch.ones(2, 3)
    assert gather_vectors(vectors, [2]) is vectors


def test_two_processes_receive_the_same_values():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EXCHANGE],
            env=common | {"RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    results = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]
    shared = [["of", 0], [{"rank": 0}, {"rank": 1}], True, False, [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]]
    assert results[0] == [0, 2, True, [0, 2, 4], *shared, [[1.0, 1.0]]]
    assert results[1] == [1, 2, False, [1, 3], *shared, [[1.0, 1.0], [1.0, 1.0]]]
