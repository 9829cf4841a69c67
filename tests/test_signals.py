"""A stop signal ends a command as a stop, also where Python converts the exception to another one."""

from __future__ import annotations

import signal

import pytest

from embedctl.errors import ModelError, Terminated
from embedctl.signals import stop_signals_raised


@pytest.fixture(autouse=True)
def handlers():
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("error", [ImportError("initialization failed"), ModelError("the model cannot be loaded")])
def test_an_error_after_a_signal_is_a_stop(error):
    def converts_exceptions() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Terminated as cause:
            raise error from cause

    with pytest.raises(Terminated) as stopped, stop_signals_raised():
        converts_exceptions()
    assert stopped.value.number == signal.SIGTERM
    assert stopped.value.__cause__ is error


def test_an_error_without_a_signal_is_unchanged():
    with pytest.raises(ImportError), stop_signals_raised():
        raise ImportError
