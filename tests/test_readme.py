"""What the README shows exists and runs."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hat.cli import count as cli_count
from hat.recipes import import_checkpoint, report
from hat.recipes.best_measured import confidence_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))]
TAKE_CONFIGS = (
    "prepare", "train-super", "measure-latency", "train-predictor", "search", "train-sub", "translate", "evaluate",
)  # fmt: skip
OMITTED = "…"
"""Stands in prose for what has been said already."""


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def shown_commands() -> list[list[str]]:
    """Every complete command line of hat on the pages, as a command's name without ``hat-`` and its arguments."""
    found = []
    for page in PAGES:
        lines = "".join(blocks("sh", page)).replace("\\\n", " ").splitlines()
        lines += re.findall(r"`(hat-(?:search|import)\s[^`]*)`", page)  # in prose, over two lines
        for line in lines:
            words = shlex.split(line.rpartition("| ")[2], comments=True)
            if not words or OMITTED in words:
                continue
            if words[0] == "torchrun":
                words = words[words.index("-m") + 1 :]
            elif words[0].endswith("measure_remote.sh"):  # the host, then what hat-measure-latency takes
                words = ["hat-measure-latency", *words[2:]]
            if words[0].startswith(("hat-", "hat.cli.")):
                found.append([words[0].removeprefix("hat-").removeprefix("hat.cli.").replace("_", "-"), *words[1:]])
    return [words for words in found if words != ["search", "--latency", "200ms"]]  # the name of a row of the table


@pytest.mark.parametrize("words", shown_commands(), ids=" ".join)
def test_commands_that_are_shown_are_right(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --dry-run, or with nothing behind the commands that have none."""
    monkeypatch.chdir(ROOT)
    name, *arguments = words
    main = importlib.import_module(f"hat.cli.{'import_' if name == 'import' else name.replace('-', '_')}").main
    if name in TAKE_CONFIGS:
        places = {"CONFIG.yaml": "configs/demo/search.yaml", "runs/demo/sub": str(tmp_path)}  # a folder that is there
        assert main([*(places.get(word, word) for word in arguments), "--dry-run"]) == 0
        return
    called = []
    for module, recipe in ((cli_count, "count"), (report, "report"), (import_checkpoint, "import_checkpoint")):
        monkeypatch.setattr(module, recipe, lambda *given: called.append(given))
    assert main(arguments) == 0 and len(called) == 1


def test_commands_are_found_where_they_are_shown() -> None:
    names = [words[0] for words in shown_commands()]
    assert {*TAKE_CONFIGS, "count", "import", "report"} == set(names) and len(names) >= 25


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
    for number, times in ((1, 8), (20, 16)):  # as README says: of the first network, and of any
        code = f"time_on_my_board = lambda net: [5.0] * {times}\n" + "\n".join(lines[:-1])
        code += f"\nreading = read(None, 6.0, {confidence_of(number)})"
        code += "\nassert reading.upper_ms == reading.latency_ms == 5.0"
        result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
