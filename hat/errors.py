"""The errors a user can cause: every one is reported as a single line, with exit status 2.

A message says *where, what must hold, what it is, what to do*. Mistakes of our own are ordinary exceptions.
"""

import difflib
from collections.abc import Iterable


class HatError(Exception):
    """Something the user can put right; the message is one line made for them."""


class ConfigError(HatError):
    """A config file, a command-line value or a search space breaks a rule."""


class DataError(HatError):
    """A corpus, vocabulary, checkpoint or results file is missing, damaged or of the wrong kind."""


class TrainingError(HatError):
    """Training cannot go on, for example because the loss is no longer a number."""


class SearchError(HatError):
    """A search cannot give what was asked for, for example under an impossible latency limit."""


class BackendError(HatError):
    """What runs networks fails on one of them: its compiler, its exporter, its memory."""


class InfeasibleError(SearchError):
    """Nothing in the space is within the limit."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt ``name``: the closest of the ``known`` names, or all of them when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is known here."
