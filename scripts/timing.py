"""Timing networks at the pace of a predictor's data set.

    python scripts/timing.py --predictor runs/demo/predictor ARCHITECTURE.json [...]

prints the milliseconds of each architecture, with random weights, one a line.
"""

import argparse
import statistics
from collections.abc import Sequence

from running import run_experiment

from hat import Architecture, Transformer
from hat.errors import DataError
from hat.latency.measure import random_model
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import DeviceRecord
from hat.latency.stopwatch import Stopwatch


def latencies_ms(nets: Sequence[Transformer], predictor: LatencyPredictor, rounds: int = 5) -> list[float]:
    """Latencies of standalone models: the median of rounds that take them in turn.

    Args:
        nets: the models.
        predictor: whose data set was measured on this machine.
        rounds: how often each model is measured.
    """
    stopwatch = Stopwatch(device_of(predictor), predictor.pace, predictor.statistic)
    measured = [[stopwatch.read(net).latency_ms for net in nets] for _ in range(rounds)]
    return [round(statistics.median(latencies), 3) for latencies in zip(*measured, strict=True)]


def device_of(predictor: LatencyPredictor) -> DeviceRecord:
    """How its data set was measured. Raises DataError if it does not say."""
    if predictor.device is None:
        raise DataError("the predictor must be of a data set with its device.json, is not: nothing says what to time.")
    return predictor.device


def main() -> None:
    """Print the latencies of architectures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictor", required=True)
    parser.add_argument("architectures", nargs="+", metavar="ARCHITECTURE.json")
    args = parser.parse_args()
    predictor = LatencyPredictor.load(args.predictor)
    settings = device_of(predictor).settings
    nets = [random_model(Architecture.from_json(path), settings) for path in args.architectures]
    for ms in latencies_ms(nets, predictor):
        print(ms)


if __name__ == "__main__":
    run_experiment("timing", main)
