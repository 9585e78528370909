"""What a peer gives the worker: a loop that does the case's work once a turn, and what shows that the work is equal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MOST_DIFFERENCE = 1e-3


class Turn(Protocol):
    """Ends the call before, if any, waits until the next is wanted, and returns the number of its round."""

    def __call__(self, seconds: float | None = None) -> int:
        """``seconds``: what the call took, where the clock is not to say; None for the clock."""


@dataclass(frozen=True)
class Prepared:
    """One configuration, ready to be timed."""

    loop: Callable[[Turn], None]
    """Calls its argument before every call; never ends by itself."""
    units: int
    """How many ``unit`` one call makes."""
    unit: str
    version: str
    """Of the peer."""
    parameters: int | None = None
    difference: float | None = None
    """Largest difference of a target token's log-probability from hat's in float32: shows that it is the same network.
    None where nothing is decoded."""
    note: str = ""
    """Where the work is not equal."""


class WrongWork(Exception):
    """A peer did not do what the case asks for."""


def repeat(call: Callable[[int], object]) -> Callable[[Turn], None]:
    """The loop that makes one call a turn; the call is given the number of its round."""

    def loop(turn: Turn) -> None:
        while True:
            call(turn())

    return loop


def check_hypotheses(lengths: list[int], case_length: int) -> None:
    """Raise WrongWork unless every hypothesis took all the case's steps."""
    if set(lengths) != {case_length}:
        raise WrongWork(f"hypotheses must take {case_length} steps, take {sorted(set(lengths))}")


def check_difference(prepared: Prepared, variant: str) -> None:
    """Raise WrongWork where float32 is further from hat's than rounding explains: it is another network then."""
    if variant == "float32" and (prepared.difference or 0.0) > MOST_DIFFERENCE:
        raise WrongWork(
            f"log-probabilities must be within {MOST_DIFFERENCE} of hat's, are {prepared.difference:.2g} off"
        )
