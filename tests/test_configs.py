"""Every file under configs/ is read by the command it is for, found by searching, so that none is forgotten."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from hat.space import Architecture, SearchSpace

ROOT = Path(__file__).parents[1]
YAML = sorted((ROOT / "configs").rglob("*.yaml"))
SPACES = [path for path in YAML if path.parent.name == "space"]
SETTINGS = [path for path in YAML if path.parent.name != "space"]
ARCHITECTURES = sorted((ROOT / "configs").rglob("*.json"))


def label(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


def test_the_search_finds_them() -> None:
    assert len(SPACES) == 6
    assert len(SETTINGS) == 44
    assert len(ARCHITECTURES) == 45
    assert not [path for path in (ROOT / "configs").rglob("*.yml")], "call it .yaml, so that it is checked here"


@pytest.mark.parametrize("path", SPACES, ids=label)
def test_spaces_load(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert re.search(r"^# Used by: (make|hat-)", text, flags=re.MULTILINE)
    assert SearchSpace.from_yaml(path).size() > 1


@pytest.mark.parametrize("path", SETTINGS, ids=label)
def test_settings_load_with_the_command_they_name(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first_line = path.read_text(encoding="utf-8").partition("\n")[0]
    named = re.match(r"# (hat-[a-z-]+) (configs/\S+?)(?=[:,.]?( |$))", first_line)
    assert named, f"{path}: the first line must be a comment with the command, '# hat-NAME {path.relative_to(ROOT)}'"
    command, own_path = named.group(1), named.group(2)
    assert own_path == str(path.relative_to(ROOT))
    monkeypatch.chdir(ROOT)
    module = importlib.import_module("hat.cli." + command.removeprefix("hat-").replace("-", "_"))
    assert module.main([own_path, "--dry-run"]) == 0, capsys.readouterr().err
    for name in re.findall(r"\bconfigs/\S+", capsys.readouterr().out):
        assert (ROOT / name).exists(), f"{path} names {name}, which does not exist"


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.name == "evaluate.yaml"], ids=label)
def test_what_is_evaluated_was_prepared(path: Path) -> None:
    evaluated, prepared = (yaml.safe_load(file.read_text()) for file in (path, path.with_name("prepare.yaml")))
    assert evaluated["data"] == prepared["output"]
    assert evaluated["split"] in prepared["test"]


@pytest.mark.parametrize("path", ARCHITECTURES, ids=label)
def test_architectures_load(path: Path) -> None:
    assert Architecture.from_json(path).qkv_dim > 0
