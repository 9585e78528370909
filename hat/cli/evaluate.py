"""hat-evaluate: BLEU, loss, size and latency of a trained model."""

import json
import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from hat.cli.command import run_command


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.evaluate import EvaluateConfig, evaluate

    return EvaluateConfig, lambda config: json.dumps(evaluate(config), indent=2, ensure_ascii=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-evaluate",
        "Translate a test set and print, as JSON: BLEU (tokenised, compound-split, sacreBLEU with its signature),\n"
        "loss, perplexity, parameters and, where asked for, this machine's latency.",
        "hat-evaluate runs/demo/sub data=data-bin/demo split=test decoding.beam=4",
        _load,
        argv,
        folder_key="model",
    )


if __name__ == "__main__":
    sys.exit(main())
