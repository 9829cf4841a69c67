"""Whether the hub answers, and that a model which needs a silent one is an error at once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from embedctl.errors import ModelError
from embedctl.model.loading import load_sentence_transformer, load_tokenizer
from embedctl.remote import hub


class Refusal(BaseHTTPRequestHandler):
    """A hub that answers, if only to say no."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Refusal)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture
def online(monkeypatch) -> None:
    """As a user's process is: nothing keeps it off the network, and what `settle` changes is put back."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_hub_that_answers_is_reachable(refusing, online, monkeypatch):
    assert hub.answers(refusing, 5)
    monkeypatch.setenv("HF_ENDPOINT", refusing)
    hub.settle("some/model")
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_is_silent_or_absent_is_not(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not hub.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
    assert not hub.answers("no address at all", 5)


@pytest.mark.parametrize("load", [load_sentence_transformer, load_tokenizer])
def test_a_name_without_a_hub_is_an_error_at_once(load, online, monkeypatch, capfd):
    """huggingface would try each file five times and say so in forty lines."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"some/model: .*") as failed:
        load("some/model")
    assert "embedctl doctor" in failed.value.hint
    assert "http://127.0.0.1:9 does not answer" in capfd.readouterr().err
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_only_a_name_asks_the_hub_and_only_online(online, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(hub, "answers", lambda *_given: asked.append(1) or True)
    hub.settle(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    hub.settle("some/model")
    assert asked == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.settle("some/model")
    assert asked == [1]
