"""Stopping a run at the user's wish, after the update it is in."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

SAME_PRESS_SECONDS = 2.0
"""Signals this close together are one wish: from the terminal, and passed on by torchrun."""


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that fills when Ctrl-C or SIGTERM comes; another Ctrl-C some seconds later stops at once."""
    received: list[int] = []
    first = 0.0

    def note(number: int, frame: object) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
            logger.info("stopping after this update; the state will be saved")
        elif number == signal.SIGINT and time.monotonic() - first > SAME_PRESS_SECONDS:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
