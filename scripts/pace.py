"""How far do networks follow when a machine changes its pace, and what does it help to know?

    python scripts/pace.py rows runs/multi30k/latency/latency.csv [...]

cross-validates the structured predictor on data sets that were measured beside an anchor: latencies by the clock, with
the anchor's changes taken away in full, and as far as the lag says that is learnt from the rows fitted to.

    python scripts/pace.py turns --predictor runs/multi30k/predictor --minutes 7 ARCHITECTURE.json [...]

measures networks beside the anchor, eight turns each time, one network after the other until the time is over, and
prints the standard deviations of each network's latency that each of the three ways leaves. Nothing else should run on
the machine.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
from running import run_experiment

from hat import Architecture
from hat.errors import DataError
from hat.latency.cost_model import CostModelOptions, fit_cost_model
from hat.latency.dataset import LatencyDataset
from hat.latency.measure import RUNS_PER_TURN, AnchoredTimer, random_model
from hat.latency.pace import Pace
from hat.latency.pace_fitting import fit_pace
from hat.latency.predictor import LatencyPredictor
from hat.latency.rows import FloatArray, Rows

FOLDS = 5
REPEATS = 20
TURNS = 8
"""Of a measurement; a row of a data set has about as many."""


def main() -> None:
    """Print a table of what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    rows = modes.add_parser("rows")
    rows.add_argument("datasets", nargs="+", metavar="LATENCY.csv")
    turns = modes.add_parser("turns")
    turns.add_argument("--predictor", required=True)
    turns.add_argument("--minutes", type=float, default=7)
    turns.add_argument("architectures", nargs="+", metavar="ARCHITECTURE.json")
    args = parser.parse_args()
    if args.mode == "rows":
        print("| data set | rows | anchor's changes % | lag | scatter | MAPE % by the clock | in full | with the lag |")
        print("|---|---|---|---|---|---|---|---|")
        for path in args.datasets:
            print(cross_validated(path), flush=True)
        return
    print(timed_in_turn(args.predictor, args.architectures, 60 * args.minutes))


def cross_validated(path: str) -> str:
    """The table's line of one data set."""
    data = LatencyDataset.load(path)
    if data.anchored is None:
        raise DataError(f"{path}: must have been measured beside an anchor, has no column anchor_ms.")
    features, now_ms, anchor_now_ms = data.features, data.anchored.total_ms, data.anchored.anchor_ms
    errors: list[list[FloatArray]] = [[], [], []]
    for seed in range(REPEATS):
        for test in np.array_split(np.random.default_rng(seed).permutation(len(data)), FOLDS):
            train = np.setdiff1d(np.arange(len(data)), test)
            learnt = fit_pace(features[train], now_ms[train], anchor_now_ms[train])
            full = Pace(learnt.anchor_ms)
            for way, factor in zip(errors, factors(full, learnt, now_ms, anchor_now_ms), strict=True):
                same_pace_ms = now_ms * factor
                model = fit_cost_model(Rows(features[train], same_pace_ms[train]), CostModelOptions())
                way.append(np.abs(model.predict_ms(features[test]) / same_pace_ms[test] - 1))
    mapes = " | ".join(f"{100 * np.concatenate(way).mean():.2f}" for way in errors)
    changes = 100 * np.log(anchor_now_ms).std()
    pace = data.anchored.pace
    return f"| {path} | {len(data)} | {changes:.1f} | {pace.lag:.2f} | {pace.scatter:.2f} | {mapes} |"


def factors(full: Pace, learnt: Pace, now_ms: FloatArray, anchor_now_ms: FloatArray) -> tuple[FloatArray, ...]:
    """What times are multiplied by: as they are, with the anchor's changes taken away in full, and with the lag."""
    return np.ones(len(now_ms)), full.factor(now_ms, anchor_now_ms), learnt.factor(now_ms, anchor_now_ms)


def timed_in_turn(folder: str, paths: Sequence[str], seconds: float) -> str:
    """The table of all networks, each measured once at least."""
    predictor = LatencyPredictor.load(folder)
    if predictor.device is None or predictor.device.anchor is None or predictor.pace is None:
        raise DataError(f"{folder}: must be of a data set that was measured beside an anchor, is not.")
    settings = predictor.device.settings
    timer = AnchoredTimer(predictor.device.anchor, settings)
    nets = [random_model(Architecture.from_json(path), settings) for path in paths]
    turns: list[list[tuple[float, float]]] = [[] for _ in nets]
    end = time.monotonic() + seconds
    while not turns[-1] or time.monotonic() < end:
        for net, known in zip(nets, turns, strict=True):
            timed = timer.time(net, RUNS_PER_TURN * TURNS, RUNS_PER_TURN * TURNS)
            known.append((timed.sample.total.mean_ms, timed.anchor_ms))
    lines = [
        "| network | measurements | median ms | changes % by the clock | followed in full | with the lag |",
        "|---|---|---|---|---|---|",
    ]
    for path, known in zip(paths, turns, strict=True):
        now_ms, anchor_now_ms = np.array(known).T
        ways = factors(Pace(predictor.pace.anchor_ms), predictor.pace, now_ms, anchor_now_ms)
        changes = " | ".join(f"{100 * float(np.log(now_ms * way).std()):.1f}" for way in ways)
        lines.append(f"| {path} | {len(known)} | {statistics.median(now_ms):.2f} | {changes} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_experiment("pace", main)
