"""A full disk at different points of each command, simulated by a limit on the size of files."""

from __future__ import annotations

import json
import random
import re


def test_the_old_output_stays_and_no_temporary_file_is_left(name, commands, contents, inputs, server, tries, tmp_path):
    old = [inputs["other"] if argument == inputs["texts"] else argument for argument in commands[name]]
    arguments = [*commands[name], "--overwrite"] if "shards" in name else commands[name]
    earlier = server.run(*old, folder=tmp_path)
    assert earlier.code == 0, earlier.stderr
    before = contents(tmp_path)
    largest = max(map(len, before.values()))
    for limit in random.Random(name).sample(range(largest), max(tries * 2 // 5, 2)):
        ended = server.run(*arguments, folder=tmp_path, file_size=limit)
        assert ended.code == 2, ended.stderr
        assert re.search("cannot be written: (File too large|the disk is full)", ended.stderr)
        after = contents(tmp_path)
        assert [key for key in after if ".tmp" in key or key.endswith(".lock")] == []
        if "shards" not in name:  # an index is not written before its vectors are complete
            assert {key: value for key, value in after.items() if key != "v.npy"} == {
                key: value for key, value in before.items() if key != "v.npy"
            }
    last = server.run(*arguments, folder=tmp_path)
    assert last.code == 0, last.stderr


def test_training_reports_a_full_disk_and_can_be_resumed(uninterrupted_training, contents, server, tries, tmp_path):
    train, weights = uninterrupted_training(2, tmp_path)
    for number, share in enumerate([0.5, *(random.Random(0).random() for _ in range(tries * 2 // 5 - 1))]):
        out = f"full-{number}"
        ended = server.run(*train, "-o", out, folder=tmp_path, file_size=int(share * len(weights)))
        assert ended.code == 2, ended.stderr
        assert "cannot be written" in ended.stderr
        assert [key for key in contents(tmp_path / out) if ".tmp" in key or key.endswith(".lock")] == []
        resumed = server.run("train", "--resume", out, folder=tmp_path)
        assert resumed.code == 0, resumed.stderr
        assert (tmp_path / out / "model.safetensors").read_bytes() == weights
        steps = [json.loads(line)["step"] for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
