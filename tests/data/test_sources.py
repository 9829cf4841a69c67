"""Values of `--dataset`: files, with or without a weight."""

from __future__ import annotations

import os

import pytest

from embedctl.data.sources import Source, parse_dataset_option, parse_dataset_options
from embedctl.errors import ConfigError, DataError


def test_a_dataset_can_have_a_weight(tmp_path):
    file_with_colon = tmp_path / "name:2"
    file_with_colon.write_text("")
    assert parse_dataset_option("a.json:2.5") == Source("a.json", 2.5)
    assert parse_dataset_option("a.json") == Source("a.json", 1.0)
    assert parse_dataset_option(str(file_with_colon)) == Source(str(file_with_colon), 1.0)
    with pytest.raises(ConfigError, match="above 0"):
        parse_dataset_option("a.json:0")
    with pytest.raises(DataError, match="no such file"):
        parse_dataset_options([str(tmp_path / "none.json")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_refused_because_it_can_be_read_only_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    message = r"pipe: a pipe can be read only once, but training reads the rows several times"
    with pytest.raises(ConfigError, match=message) as error:
        parse_dataset_options([f"{tmp_path}/pipe"])
    assert error.value.hint == "write the rows to a file and give it with --dataset"
    with pytest.raises(ConfigError, match="stdin can be read only once"):
        parse_dataset_options(["-"])
