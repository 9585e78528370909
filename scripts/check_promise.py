"""Does a search keep its promise? Many searches under random limits, and what each returns measured again.

Run from the repository after ``make demo``, while nothing else runs on the machine:

    python scripts/check_promise.py --searches 50

A third of the limits is well within what the space can do, up to what its largest network takes; a third is tight, a
third cannot be met. Every network that is returned is measured three times more, each time in a new process; all times
but one are at the data set's pace, as limits are. Prints a table and writes it as Markdown. Searches that are done are
not done again, so the script can be stopped and started at any time.
"""

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from running import kept_results, run_experiment

from hat.artifacts import file_digest, make_folder, write_json
from hat.config import load_config
from hat.errors import ConfigError
from hat.latency.predictor import LatencyPredictor
from hat.recipes.search_config import SearchConfig
from hat.space import SearchSpace

AGAIN = 3
"""How often a returned network is measured again."""
NOTHING_FOUND = "no SubTransformer of this space is predicted", "none of the best candidates"
"""What the error says of a search that found nothing; any other is a mistake or a fault."""
ENDS_WITHIN_S = 10.0
"""Seconds after which a search under an impossible limit must have ended."""


@dataclass(frozen=True)
class Outcome:
    """What one search came to."""

    kind: str
    limit_ms: float
    seconds: float
    found_ms: float | None
    """What the search measured, at the data set's pace; None where it returned nothing."""
    now_ms: float | None
    """The same by the clock."""
    again_ms: tuple[float, ...]
    error: str

    @property
    def kept(self) -> bool | None:
        """Whether the promise was kept: all measurements within the limit; None where a tight limit was refused.

        Of an impossible limit an error must say so quickly; of one well within what the space can do, any is wrong.
        Whether a tight one can be met nobody knows, so a refusal counts neither for nor against.
        """
        if self.found_ms is not None:
            return max(self.again_ms) <= self.limit_ms
        return None if self.kind == "tight" else self.kind == "infeasible" and self.seconds < ENDS_WITHIN_S

    @property
    def slack_percent(self) -> float | None:
        """How far the returned network is below the limit, by the median of the new measurements."""
        return 100 * (1 - statistics.median(self.again_ms) / self.limit_ms) if self.again_ms else None


def main() -> None:
    """Search, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/demo/search.yaml")
    parser.add_argument("--space", default="configs/space/demo.yaml")
    parser.add_argument("--predictor", default="runs/demo/predictor")
    parser.add_argument("--output", type=Path, default=Path("runs/promise"))
    parser.add_argument("--searches", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    predictor = LatencyPredictor.load(args.predictor)
    ranges_ms = limits_ms(predictor, SearchSpace.from_yaml(args.space))
    rng = random.Random(args.seed)
    path = make_folder(args.output) / "outcomes.json"
    config = load_config(SearchConfig, Path(args.config))
    settings = {
        "config": file_digest(Path(args.config)),
        "predictor": file_digest(Path(args.predictor) / "predictor.json"),
        "supertransformer": file_digest(config.supertransformer / "model.safetensors"),
        "limits_ms": ranges_ms,
        "seed": args.seed,
    }
    kept = kept_results(path, settings)
    outcomes = [Outcome(**values) for values in kept["results"]]
    for number in range(args.searches):
        kind = list(ranges_ms)[number % len(ranges_ms)]
        limit_ms = round(rng.uniform(*ranges_ms[kind]), 3)
        if number < len(outcomes):
            continue
        outcomes.append(attempt(args, number, kind, limit_ms))
        write_json(path, kept | {"results": [asdict(outcome) for outcome in outcomes]})
        print(row(number, outcomes[-1]), file=sys.stderr, flush=True)
    text = table(outcomes)
    (args.output / "promise.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def limits_ms(predictor: LatencyPredictor, space: SearchSpace) -> dict[str, tuple[float, float]]:
    """Ranges of the limits of each kind."""
    fastest_ms, slowest_ms = predictor.predict_ms(space.smallest()), predictor.predict_ms(space.largest())
    return {
        "feasible": (1.2 * fastest_ms, slowest_ms),
        "tight": (fastest_ms, 1.15 * fastest_ms),
        "infeasible": (0.2 * fastest_ms, 0.95 * fastest_ms),
    }


def attempt(args: argparse.Namespace, number: int, kind: str, limit_ms: float) -> Outcome:
    """One search, and the measurements of what it returns."""
    output = args.output / f"{number:03}"
    settings = [
        f"output={output}",
        f"scores={args.output}/scores.jsonl",
        f"predictor={args.predictor}",
        f"seed={number}",
    ]
    started = time.monotonic()
    done = run("-m", "hat.cli.search", args.config, "--latency", f"{limit_ms}ms", *settings)
    seconds = time.monotonic() - started
    if done.returncode:
        *_, error = ["", *done.stderr.strip().splitlines()]
        if not any(reason in error for reason in NOTHING_FOUND):
            sys.exit(f"check_promise: a search ended with status {done.returncode}:\n{done.stderr}")
        return Outcome(kind, limit_ms, seconds, None, None, (), error)
    path = output / "architecture.json"
    found = json.loads(path.read_text(encoding="utf-8"))["found"]
    if found["latency_is"] != "measured":
        raise ConfigError(f"{args.predictor}: must be of this machine, is of {found['device']}.")
    timing = str(Path(__file__).with_name("timing.py"))
    again = [run(timing, "--predictor", args.predictor, str(path)) for _ in range(AGAIN)]
    for process in again:
        if process.returncode:
            sys.exit(f"check_promise: a measurement ended with status {process.returncode}:\n{process.stderr}")
    again_ms = tuple(float(process.stdout) for process in again)
    return Outcome(kind, limit_ms, seconds, found["measured_ms"], found["measured_now_ms"], again_ms, "")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """A new Python process."""
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def row(number: int, outcome: Outcome) -> str:
    """One line of the table."""
    kept = {True: "yes", False: "NO", None: "refused"}[outcome.kept]
    if outcome.found_ms is None:
        return (
            f"| {number} | {outcome.kind} | {outcome.limit_ms:.2f} | - | - | - | - | {outcome.seconds:.1f} | {kept} "
            f"| {outcome.error} |"
        )
    again = ", ".join(f"{ms:.2f}" for ms in outcome.again_ms)
    return (
        f"| {number} | {outcome.kind} | {outcome.limit_ms:.2f} | {outcome.found_ms:.2f} | {outcome.now_ms:.2f} "
        f"| {again} | {outcome.slack_percent:.1f} | {outcome.seconds:.1f} | {kept} | |"
    )


def table(outcomes: list[Outcome]) -> str:
    """All outcomes and their summary as Markdown."""
    slacks = [outcome.slack_percent for outcome in outcomes if outcome.slack_percent is not None]
    returned = [outcome for outcome in outcomes if outcome.found_ms is not None]
    refused = [outcome for outcome in outcomes if outcome.kept is None]
    least_ms = min((max(outcome.again_ms) for outcome in returned), default=math.inf)
    slack = f"{statistics.median(slacks):.1f} %" if slacks else "-"
    slowest = max((o.seconds for o in outcomes if o.kind == "infeasible"), default=0.0)
    return "\n".join(
        [
            f"{len(outcomes)} searches: {sum(o.kept is True for o in returned)} of the {len(returned)} networks that "
            f"were returned kept their limit, with a median slack of {slack}. {len(refused)} tight limits were "
            f"refused, {sum(o.limit_ms >= least_ms for o in refused)} of which a network of another search keeps. "
            f"{sum(o.kept is False for o in outcomes if o.found_ms is None)} other answers are wrong or late; the "
            f"slowest search under an impossible limit ended after {slowest:.1f} s.",
            "",
            "| search | limit | limit ms | measured ms | by the clock ms | measured again ms | slack % | seconds "
            "| kept | error |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(row(number, outcome) for number, outcome in enumerate(outcomes)),
        ]
    )


if __name__ == "__main__":
    run_experiment("check_promise", main)
