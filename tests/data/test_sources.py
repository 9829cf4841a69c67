"""Which file `--dataset` names, and how often its rows are visited."""

from __future__ import annotations

import pytest

from embedctl.data.sources import Source, parse, parse_all
from embedctl.errors import ConfigError, DataError


def test_a_dataset_may_carry_a_weight(tmp_path):
    odd = tmp_path / "name:2"
    odd.write_text("")
    assert parse("a.json:2.5") == Source("a.json", 2.5)
    assert parse("a.json") == Source("a.json", 1.0)
    assert parse(str(odd)) == Source(str(odd), 1.0)
    with pytest.raises(ConfigError, match="above 0"):
        parse("a.json:0")
    with pytest.raises(DataError, match="no such file"):
        parse_all([str(tmp_path / "none.json")])
