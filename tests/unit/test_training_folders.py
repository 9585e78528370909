"""Which folders training takes from and writes into, and which it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_task import ARCHITECTURE, SPACE, make_data, sub_settings, super_settings, write_yaml

from hat.artifacts import alone_in
from hat.cli.evaluate import main as evaluate
from hat.cli.train_sub import main as train_sub
from hat.cli.train_super import main as train_super


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a SuperTransformer trained for one update."""
    folder = tmp_path_factory.mktemp("runs")
    settings = super_settings(make_data(folder / "task"), folder / "super", max_updates=1, final="last")
    assert train_super([write_yaml(folder / "super.yaml", settings)]) == 0
    return folder


def run_sub(runs: Path, folder: Path, *arguments: str, architecture: Any = ARCHITECTURE, **changes: Any) -> int:
    path = folder / "architecture.json"
    path.write_text(json.dumps(architecture))
    settings = sub_settings(runs / "task" / "bin", folder / "sub", path, **({"max_updates": 1} | changes))
    return train_sub([write_yaml(folder / "sub.yaml", settings), *arguments])


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_model_that_no_unfinished_run_left_is_not_overwritten(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_sub(runs, tmp_path) == 0
    (tmp_path / "sub" / "checkpoints" / "resume.pt").unlink()
    before = content(tmp_path / "sub")
    assert run_sub(runs, tmp_path, "seed=2") == 2
    assert "sub: holds a model, but no state of its training to go on from" in failure(capsys)
    assert content(tmp_path / "sub") == before
    assert run_sub(runs, tmp_path, "seed=2", "--restart") == 0


def test_a_restart_that_is_killed_leaves_no_old_model_with_a_new_tokeniser(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_sub(runs, tmp_path) == 0
    monkeypatch.setattr("hat.recipes.train_sub.Trainer.train", lambda *arguments: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):
        run_sub(runs, tmp_path, "--restart")
    assert not (tmp_path / "sub" / "config.json").exists() and not (tmp_path / "sub" / "model.safetensors").exists()


def test_the_supertransformer_is_not_trained_over(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(runs / "super")
    same = runs / "task" / ".." / "super"
    assert run_sub(runs, tmp_path, "--restart", "--inherit", str(runs / "super"), f"output={same}") == 2
    assert "output must not be the folder of the SuperTransformer that is inherited from" in failure(capsys)
    assert content(runs / "super") == before


def test_inherit_as_a_flag_takes_the_space_of_the_supertransformer(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files of the paper's tasks name the space, for training from scratch; the flag must do without another."""
    space = f"space={json.dumps(SPACE)}"
    assert run_sub(runs, tmp_path, space, f"inherit={runs / 'super'}") == 2
    assert "space must be left out with inherit" in failure(capsys)
    assert run_sub(runs, tmp_path, space, "--inherit", str(runs / "super")) == 0


def test_inherited_weights_are_of_a_member_of_the_space(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight heads fit into the weights, but were never trained."""
    layers = [{"ffn_dim": 16, "self_attn_heads": 8}] * 2
    heads = {**ARCHITECTURE, "encoder": {"embed_dim": 12, "layers": layers}}
    assert run_sub(runs, tmp_path, "--inherit", str(runs / "super"), architecture=heads) == 2
    path = tmp_path / "architecture.json"
    expected = f"{path}: must be a member of the search space: encoder.layers.0.self_attn_heads must be one of [1, 2]"
    assert expected in failure(capsys)
    data = f"data={runs / 'task' / 'bin'}"
    assert evaluate([str(runs / "super"), f"architecture={path}", data]) == 2
    assert expected in failure(capsys)


def test_options_left_out_are_those_of_the_supertransformer(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = super_settings(runs / "task" / "bin", tmp_path / "super", max_updates=1, final="last")
    settings["model"] = {"share_embeddings": "none", "attention_dropout": 0.1, "dropout": 0.3}
    assert train_super([write_yaml(tmp_path / "super.yaml", settings)]) == 0
    inherit = "--inherit", str(tmp_path / "super"), "model=null"
    assert run_sub(runs, tmp_path, *inherit, "model.dropout=0.2") == 0
    options = json.loads((tmp_path / "sub" / "config.json").read_text())
    assert [options[name] for name in settings["model"]] == ["none", 0.1, 0.2]
    recorded = yaml.safe_load((tmp_path / "sub" / "config.yaml").read_text())["model"]
    assert [recorded[name] for name in settings["model"]] == ["none", 0.1, 0.2]  # trained from it, it is the same again
    assert run_sub(runs, tmp_path, *inherit, "model.share_embeddings=decoder", "--restart") == 2
    assert "model.share_embeddings: must be the SuperTransformer's ('none')" in failure(capsys)


def test_what_a_killed_save_left_is_removed(runs: Path, tmp_path: Path) -> None:
    half = tmp_path / "sub" / ".model.safetensors.0a1b2c3d"
    half.parent.mkdir()
    half.write_bytes(b"half of a model")
    assert run_sub(runs, tmp_path) == 0
    assert not half.exists() and (tmp_path / "sub" / "model.safetensors").exists()


def test_a_folder_belongs_to_one_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_sub(runs, tmp_path) == 0
    before = content(tmp_path / "sub")
    model = str(tmp_path / "sub")
    assert evaluate([model, f"data={runs / 'task' / 'bin'}", f"output={model}"]) == 2
    assert "sub: must not hold what hat-train-sub made; choose another output folder." in failure(capsys)
    assert content(tmp_path / "sub") == before


@pytest.mark.parametrize("reason", ["another command's folder", "no tensorboard", "no tokeniser"])
def test_a_restart_that_is_refused_deletes_nothing(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    assert run_sub(runs, tmp_path) == 0
    data, arguments, message = runs / "task" / "bin", [], "must not hold what hat-train-sub made"
    settings = super_settings(data, tmp_path / "sub", max_updates=1)
    command = [train_super, write_yaml(tmp_path / "super.yaml", settings)]
    if reason != "another command's folder":
        command = [train_sub, str(tmp_path / "sub.yaml")]
    if reason == "no tensorboard":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        arguments, message = ["training.tensorboard=true"], "needs the package tensorboard"
    if reason == "no tokeniser":
        shutil.copytree(data, tmp_path / "bin")
        shutil.rmtree(tmp_path / "bin" / "tokenizer")
        arguments, message = [f"data={tmp_path / 'bin'}"], "no such file"
    before = content(tmp_path / "sub")
    main, config = command
    assert main([config, "--restart", *arguments]) == 2
    assert message in failure(capsys)
    assert content(tmp_path / "sub") == before


def test_a_supertransformer_that_is_not_there(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_sub(runs, tmp_path, "--inherit", "nowhere") == 2
    assert "nowhere/config.json: no such file; a model's config.json is expected here." in failure(capsys)


def test_another_supertransformer_is_not_gone_on_from(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs / "task" / "bin"
    settings = super_settings(data, tmp_path / "other", max_updates=1, final="last") | {"seed": 2}
    assert train_super([write_yaml(tmp_path / "super.yaml", settings)]) == 0
    assert run_sub(runs, tmp_path, "--inherit", str(runs / "super")) == 0
    assert run_sub(runs, tmp_path, "--inherit", str(tmp_path / "other"), max_updates=2) == 2
    assert "this run was started with inherit '" in failure(capsys)
    shutil.copytree(runs / "super", tmp_path / "moved")
    assert run_sub(runs, tmp_path, "--inherit", str(tmp_path / "moved"), max_updates=2) == 0


def test_other_sentences_are_not_gone_on_with(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers of rows and tokens, and one word another."""
    data = shutil.copytree(runs / "task" / "bin", tmp_path / "bin")
    assert run_sub(runs, tmp_path, f"data={data}") == 0
    ids = np.load(data / "train.target.ids.npy", mmap_mode="r+")
    place = int(np.flatnonzero(ids > 4)[-1])
    ids[place] = 4 + (ids[place] - 4 + 1) % 8
    ids.flush()
    assert run_sub(runs, tmp_path, f"data={data}", max_updates=2) == 2
    assert "this run was started with data.content '" in failure(capsys)
    assert run_sub(runs, tmp_path, max_updates=2) == 0  # where the folder lies does not matter


def test_two_processes_do_not_train_into_one_folder(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub").mkdir()
    with alone_in(tmp_path / "sub"):
        assert run_sub(runs, tmp_path) == 2
        assert "sub: another process is writing there" in failure(capsys)
        assert list((tmp_path / "sub").iterdir()) == []
    assert run_sub(runs, tmp_path) == 0
