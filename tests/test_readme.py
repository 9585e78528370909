"""What the README shows exists and runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hat.cli.command import load_config
from hat.recipes.evaluate import EvaluateConfig
from hat.recipes.measure_latency import MeasureLatencyConfig
from hat.recipes.prepare import PrepareConfig
from hat.recipes.search import SearchConfig
from hat.recipes.train_predictor import TrainPredictorConfig
from hat.recipes.train_sub import TrainSubConfig
from hat.recipes.train_super import TrainSuperConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = {
    "hat-prepare": PrepareConfig,
    "hat-train-super": TrainSuperConfig,
    "hat.cli.train_super": TrainSuperConfig,
    "hat-measure-latency": MeasureLatencyConfig,
    "hat-train-predictor": TrainPredictorConfig,
    "hat-search": SearchConfig,
    "hat.cli.search": SearchConfig,
    "hat-train-sub": TrainSubConfig,
    "hat.cli.train_sub": TrainSubConfig,
    "hat-evaluate": EvaluateConfig,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def shown_configs() -> list[tuple[str, str, list[str]]]:
    """Command, config and overrides of every line of the README that names a YAML file."""
    found = []
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line, comments=True)
        for position, word in enumerate(words):
            if word.endswith(".yaml"):
                overrides = [later for later in words[position + 1 :] if "=" in later]
                remote = words[0].endswith("measure_remote.sh")  # HOST stands before the config there
                command = "hat-measure-latency" if remote else words[position - 1]
                found.append((command, word, overrides))
    return found


@pytest.mark.parametrize(("command", "config", "overrides"), shown_configs())
def test_configs_that_are_shown_load(command: str, config: str, overrides: list[str]) -> None:
    load_config(CONFIGS[command], ROOT / config, overrides)


def test_every_command_of_the_step_by_step_part_is_checked() -> None:
    assert len(shown_configs()) >= 10


def test_commands_in_the_table_are_installed() -> None:
    scripts = re.findall(r"^(hat-[a-z-]+) = ", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    table = re.findall(r"^\| `(hat-[a-z-]+)", README, flags=re.MULTILINE)
    assert sorted(table) == sorted(scripts)


def test_python_example_runs(tmp_path: Path) -> None:
    code, _ = blocks("python")
    lines = [line for line in code.splitlines() if "Translator.from_pretrained" not in line]  # needs a trained model
    prelude = "import torch\nsource = torch.tensor([[5, 6, 2]])\ntarget_in = torch.tensor([[2, 7]])\n"
    code = prelude + "\n".join(lines).replace('"sub"', "sys.argv[1]").replace("import random", "import random, sys")
    code += "\nnet.eval(), model.eval()"
    code += "\nassert torch.allclose(net(source, target_in), model(source, target_in, architecture), atol=1e-4)"
    code = code.replace("32768", "64")
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_the_example_of_measuring_runs() -> None:
    """All but the search itself, which needs a SuperTransformer: a reading is one, with a bound."""
    _, code = blocks("python")
    lines = code.strip().splitlines()
    assert lines[-1].startswith("search(")
    code = "time_on_my_board = lambda net: [5.0] * 8\n" + "\n".join(lines[:-1])
    code += "\nreading = read(None, 6.0)\nassert reading.upper_ms == reading.latency_ms == 5.0"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
