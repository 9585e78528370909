"""One process for one configuration: ``python -m benchmarks.worker 'JSON of a Configuration'``.

It prints one line of JSON when it is ready (or says what is missing), then one for every line it reads: a line
``time ROUND`` times one call, ``profile ROUND`` runs one and tells where its time goes.
"""

import importlib
import importlib.util
import json
import os
import sys
import time
from typing import Any, TextIO

from benchmarks.cases import Configuration
from benchmarks.peers import PACKAGES, PEERS
from benchmarks.prepared import check_difference


class Answers:
    """Times the loop of a peer, call by call, as the lines of standard input ask."""

    def __init__(self, output: TextIO) -> None:
        self.output = output
        self.started: float | None = None
        self.profiler: Any = None

    def __call__(self, seconds: float | None = None) -> int:
        """A peer's :class:`benchmarks.prepared.Turn`."""
        if self.started is not None:
            elapsed = time.perf_counter() - self.started
            profile = {} if self.profiler is None else {"profile": self._shares(elapsed)}
            self.say(seconds=elapsed if seconds is None else seconds, **profile)
        line = sys.stdin.readline().split()
        if not line:
            sys.exit(0)
        if line[0] == "profile":
            import torch

            self.profiler = torch.profiler.profile()
            self.profiler.__enter__()
        self.started = time.perf_counter()
        return int(line[1])

    def say(self, **values: Any) -> None:
        """Print one line of JSON."""
        print(json.dumps(values), file=self.output, flush=True)

    def _shares(self, elapsed: float) -> dict[str, float]:
        """Share of the call's time in each of torch's operations; ``outside torch`` is the rest."""
        self.profiler.__exit__(None, None, None)
        events = sorted(self.profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
        self.profiler = None
        shares = {event.key: event.self_cpu_time_total / 1e6 / elapsed for event in events}
        top = dict(list(shares.items())[:12])
        return {
            **top,
            "other operations": sum(shares.values()) - sum(top.values()),
            "outside torch": 1 - sum(shares.values()),
        }


def missing(peer: str) -> str | None:
    """How to install what the peer needs; None when it is here."""
    package, how = PACKAGES.get(peer, ("torch", ""))
    return how if importlib.util.find_spec(package) is None else None


def main() -> None:
    """Prepare the configuration of the command line and answer."""
    configuration = Configuration.from_dict(json.loads(sys.argv[1]))
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    answers = Answers(output)
    if (how := missing(configuration.peer)) is not None:
        answers.say(missing=f"not installed: {how}")
        return
    try:
        import torch

        torch.set_num_threads(configuration.threads)
        peer = importlib.import_module(f"benchmarks.peers.{PEERS[configuration.peer]}")
        prepared = getattr(peer, configuration.case.kind)(
            configuration.case, configuration.variant, configuration.threads
        )
        check_difference(prepared, configuration.variant)
        answers.say(ready={name: value for name, value in vars(prepared).items() if name != "loop"})
        prepared.loop(answers)
    except Exception as error:  # whatever a peer raises becomes its line in the table
        answers.say(error=f"{type(error).__name__}: {error}"[:300])
        raise


if __name__ == "__main__":
    main()
