import os
import signal

import pytest

from hat.training import stopping
from hat.training.stopping import stop_signals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_signals_are_noted_and_the_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals() as received:
        assert received == []
        send(signal.SIGTERM)
        assert received == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(ZeroDivisionError), stop_signals():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_one_wish_may_come_as_several_signals() -> None:
    with stop_signals() as received:  # the terminal tells every process, and torchrun tells its workers again
        for _ in range(3):
            send(signal.SIGINT)
        assert len(received) == 3


def test_an_impatient_user_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    with stop_signals() as received:
        send(signal.SIGINT)
        now += stopping.SAME_PRESS_SECONDS + 0.1
        send(signal.SIGTERM)
        assert len(received) == 2
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
