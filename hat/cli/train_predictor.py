"""hat-train-predictor: learn to predict latency from measurements."""

import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from hat.cli.command import run_command


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.train_predictor import TrainPredictorConfig, train_predictor

    return TrainPredictorConfig, train_predictor


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-train-predictor",
        "Learn to predict the latency of SubTransformers from a latency CSV; prints the predictor's folder.\n"
        "metrics.json in it says how close it comes on rows it has not seen.",
        "hat-train-predictor configs/demo/train_predictor.yaml train_rows=30",
        _load,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
