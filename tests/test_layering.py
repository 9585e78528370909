"""Which part of hat may import which: the arrows point one way only.

cli → recipes → report → {training, search, latency, importing} → backends → {decoding, metrics} → {nn, data} →
space → the rest.
Arrows may be skipped, never reversed; neighbours do not import each other. A search sees spaces only, so that any
score and any latency can be plugged in, and spaces and searches work without torch.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hat"
LAYERS = (
    ("cli",),
    ("recipes",),
    ("report",),
    ("training", "search", "latency", "importing"),
    ("backends",),
    ("decoding", "metrics"),
    ("nn", "data"),
    ("space",),
    ("artifacts",),
    ("config", "special_ids"),
    ("errors",),
)
NO_TORCH = ("space", "search", "artifacts", "config", "special_ids", "errors", "cli.command", "cli.count")
NO_TORCH += ("report", "recipes.report", "cli.report")
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """``hat.nn.attention`` → ``nn``, and nothing for the package itself, which holds the version and public names."""
    return module.removeprefix("hat").removeprefix(".").partition(".")[0]


def name_of(path: Path) -> str:
    return ".".join(("hat", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """The modules a file imports anywhere in it, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, from hat.… import …"
            if node.module == "hat":  # from hat import nn: only the version is the package's own
                yield from (f"hat.{alias.name}" for alias in node.names if alias.name != "__version__")
            else:
                yield node.module or ""


def allowed(part: str) -> set[str]:
    depth = next(index for index, layer in enumerate(LAYERS) if part in layer)
    below = {name for layer in LAYERS[depth + 1 :] for name in layer}
    upper = {"backends", "decoding", "metrics", "nn", "data"}
    return {part} | (below - upper if part == "search" else below)


def test_every_part_has_its_place() -> None:
    parts = {part_of(name_of(path)) for path in MODULES} - {""}
    known = {name for layer in LAYERS for name in layer}
    assert parts <= known, "a new folder or module: add it to LAYERS"
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_arrows(path: Path) -> None:
    part = part_of(name_of(path))
    if part == "":
        return  # hat/__init__.py gives the public names of all parts
    used = {part_of(module) for module in imports(path) if module.split(".")[0] == "hat"} - {""}
    assert used <= allowed(part), f"hat.{part} must not import {sorted(used - allowed(part))}"


def test_the_check_itself_finds_a_reversed_arrow() -> None:
    assert "recipes" not in allowed("training")
    assert "training" not in allowed("latency")
    assert allowed("search") == {"search", "space", "artifacts", "config", "special_ids", "errors"}
    assert allowed("latency") >= {"decoding", "nn", "data", "space"}
    assert "hat.errors" in set(imports(PACKAGE / "config.py"))


def test_these_parts_never_load_torch() -> None:
    names = [name for name in map(name_of, MODULES) if name.removeprefix("hat.").startswith(NO_TORCH)]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), "torch was imported"
