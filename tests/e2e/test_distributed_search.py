"""Two processes that score the candidates of a search together = one, as torchrun starts them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from test_distributed import ENVIRONMENT, LAUNCHER
from tiny_task import make_data, make_predictor, super_settings, write_yaml

from hat import Architecture
from hat.cli.search import main
from hat.cli.train_super import main as train_super

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed part")

FILES = "architecture.json", "history.jsonl", "pareto.json", "scores.jsonl"


def latency_ms(architecture: Architecture) -> float:
    return 5.0 * len(architecture.decoder.layers) + 3.0 * len(architecture.encoder.layers)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = make_data(folder / "task")
    settings = super_settings(data, folder / "super", max_updates=20, final="last", log_every=20)
    assert train_super([write_yaml(folder / "super.yaml", settings)]) == 0
    make_predictor(folder / "predictor", latency_ms)
    return folder


def config_of(runs: Path, folder: Path, **changes: Any) -> str:
    settings = {
        "output": str(folder / "unset"),
        "supertransformer": str(runs / "super"),
        "predictor": str(runs / "predictor"),
        "data": str(runs / "task" / "bin"),
        "latency_limit_ms": 14.0,
        "evolution": {"generations": 3, "population": 12, "parents": 4, "mutations": 5, "crossovers": 3},
        "device": "cpu",
        "threads": 1,
        "measure": False,
    }
    return write_yaml(folder / "search.yaml", settings | changes)


def torchrun(config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [*LAUNCHER, "-m", "hat.cli.search", config, *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def test_two_processes_give_the_very_files_of_one(runs: Path, tmp_path: Path) -> None:
    config = config_of(runs, tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    result = torchrun(config, f"output={two}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{two / 'architecture.json'}\n"
    assert result.stderr.count("generation 2 |") == 1  # the main process alone says how it goes on
    assert main([config, f"output={one}"]) == 0
    for name in FILES:
        assert (two / name).read_bytes() == (one / name).read_bytes(), name


def test_a_mistake_ends_both_with_one_line(runs: Path, tmp_path: Path) -> None:
    result = torchrun(config_of(runs, tmp_path), f"output={tmp_path / 'search'}", "latency_limit_ms=0.001")
    lines = [line for line in result.stderr.splitlines() if line.startswith("hat-search: ")]
    assert result.returncode != 0 and len(lines) == 1 and "is predicted to run within 0.001 ms" in lines[0]
    assert "in search" not in result.stderr  # no traceback


FAILING = """
import os
import sys
from hat.errors import DataError
from hat.recipes import search_losses
from hat.cli.search import main

search_losses.TOGETHER = 1
losses = search_losses.Evaluator.losses
calls = []

def failing(self, architectures, part):
    calls.append(architectures)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        raise DataError("the disk of this machine is gone.")
    return losses(self, architectures, part)

search_losses.Evaluator.losses = failing
sys.exit(main(sys.argv[1:]))
"""


def test_a_process_that_fails_alone_ends_both_and_what_was_scored_stays(runs: Path, tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    output = tmp_path / "search"
    line = [*LAUNCHER, str(script), config_of(runs, tmp_path), f"output={output}"]
    result = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    lines = [line for line in result.stderr.splitlines() if line.startswith("hat-search: ")]
    assert result.returncode != 0 and lines == ["hat-search: the disk of this machine is gone."], result.stderr
    kept = [json.loads(line) for line in (output / "scores.jsonl").read_text().splitlines()]
    assert len(kept) == 4  # two each, before the third failed
    assert not (output / "architecture.json").exists()
    assert main([config_of(runs, tmp_path), f"output={output}"]) == 0
