"""The check of the Hugging Face Hub, and the error for a model name when it is not reachable."""

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


class ForbiddenHandler(BaseHTTPRequestHandler):
    """Responds to every request with HTTP 403."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def forbidden_url(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), ForbiddenHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def online(monkeypatch) -> None:
    """Enable network access, as in a user's process, and restore the settings after the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_hub_that_responds_is_reachable(forbidden_url, online, monkeypatch):
    assert hub.is_reachable(forbidden_url, 5)
    monkeypatch.setenv("HF_ENDPOINT", forbidden_url)
    hub.go_offline_if_unreachable("some/model")
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_does_not_respond_is_not_reachable(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not hub.is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
    assert not hub.is_reachable("no address at all", 5)


@pytest.mark.parametrize("load", [load_sentence_transformer, load_tokenizer])
def test_loading_an_uncached_model_fails_immediately_if_the_hub_is_not_reachable(load, online, monkeypatch, capfd):
    """huggingface_hub alone would try each file five times and print forty lines."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"some/model: .*") as error:
        load("some/model")
    assert "embedctl doctor" in error.value.hint
    assert "http://127.0.0.1:9 is not reachable" in capfd.readouterr().err
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_the_hub_is_checked_only_for_a_model_name_and_only_online(online, monkeypatch, tmp_path):
    checks = []
    monkeypatch.setattr(hub, "is_reachable", lambda *_args: checks.append(1) or True)
    hub.go_offline_if_unreachable(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    hub.go_offline_if_unreachable("some/model")
    assert checks == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.go_offline_if_unreachable("some/model")
    assert checks == [1]
