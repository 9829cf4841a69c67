"""An output folder that is removed while a command runs: results are written, or a message names what is missing."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("command", "options", "when", "removed"),
    [
        ("encode", ["-o", "out/v.jsonl"], "out/.v.jsonl*.tmp", "out"),
        ("encode", ["-o", "out/v.npy", "--index", "flat"], "out/.v.npy*.tmp", "out"),
        ("encode", ["-o", "out/v.npy", "--index", "flat"], "out/.v.npy.index*.tmp", "out"),
        ("encode", ["-o", "out/v/", "--shard-rows", "50"], "out/v/shard-00001.npy", "out/v"),
        ("encode", ["-o", "out/v/", "--shard-rows", "50"], "out/v/shard-00001.npy", "out"),
        ("train", ["-o", "run"], "run/states/step-00000004", "run"),
    ],
)
def test_results_that_were_removed_are_reported_and_the_next_run_is_complete(
    command, options, when, removed, inputs, server, contents, tmp_path
):
    encode = ["--ckpt", inputs["model"], "-i", inputs["texts"], "--device", "cpu"]
    train = ["--model", inputs["model"], "--dataset", inputs["rows"], "--cpu", "--neg-nums", "0"]
    train += ["--batch-size", "16", "--epochs", "6", "--save-steps", "2"]
    arguments = [command, *{"encode": encode, "train": train}[command], *options]
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        ended = server.run(*arguments, folder=folder, remove_when=(when, removed))
        if ended.code:  # else the folder was removed too late, on a busy machine
            break
    assert "Traceback" not in ended.stderr
    assert (ended.code, ended.stderr.count("error: ")) == (2, 1), ended.stderr
    assert "removed while" in ended.stderr
    assert [name for name in contents(folder) if ".tmp" in name or name.endswith("modules.json")] == []
    again = server.run(*arguments, folder=folder)
    assert again.code == 0, again.stderr


@pytest.mark.parametrize("removed", ["out", "report"])
def test_mined_negatives_and_their_report_are_written_to_a_removed_folder(removed, inputs, server, contents, tmp_path):
    mine = ["mine-negatives", "--model", inputs["model"], "--dataset", inputs["rows"], "--device", "cpu", "--no-cache"]
    mine += ["--range", "0-30", "--neg-nums", "5", "-o", "out/m.jsonl", "--report", "report/m.html"]
    found = {}
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        ended = server.run(*mine, folder=folder, remove_when=(f"{removed}/.m*.lock", removed))
        assert ended.code == 0, ended.stderr
        found = contents(folder)
        if any(name.startswith(removed) for name in found):  # else it was removed after the results were written
            break
    assert found.keys() == {"out/m.jsonl", "report/m.html"}


def test_training_continues_without_the_removed_checkpoints(uninterrupted_training, server, tmp_path):
    train, weights = uninterrupted_training(6, tmp_path)
    remove = ("run/states/step-00000004", "run/states")
    ended = server.run(*train, "-o", "run", folder=tmp_path, remove_when=remove)
    assert ended.code == 0, ended.stderr
    assert (tmp_path / "run/model.safetensors").read_bytes() == weights
