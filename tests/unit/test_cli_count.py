"""hat-count: the JSON it prints, where it finds what it needs, and what it says when something is missing."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hat.artifacts import write_json
from hat.cli.count import main
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_multiply_adds, count_parameters

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "configs/published/wmt14_ende_raspberrypi_3.5s.json"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_main(*argv: object) -> dict[str, Any]:
        assert main([str(argument) for argument in argv]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return run_main


def test_the_keys_are_those_of_the_interface(run: Run) -> None:
    printed = run(PUBLISHED)
    assert set(printed["params"]) == {"total", "encoder", "decoder", "embedding", "output", "without_embeddings"}
    assert set(printed["multiply_adds"]) == {"total", "encoder", "decoder", "output", "without_output"}


def test_without_a_vocabulary_its_parts_are_null(run: Run) -> None:
    printed = run(PUBLISHED)
    assert round(printed["params"]["without_embeddings"] / 1e6, 2) == 25.22  # published
    assert printed["gflops_without_output"] == pytest.approx(1.53, abs=0.01)  # published
    assert printed["params"]["embedding"] is None
    assert printed["params"]["output"] is None
    assert printed["multiply_adds"]["output"] is None
    assert printed["params"]["total"] == printed["params"]["without_embeddings"]
    assert printed["multiply_adds"]["total"] == printed["multiply_adds"]["without_output"]


def test_parts_add_up(run: Run) -> None:
    printed = run(PUBLISHED, "--vocab", 1000, "--share-embeddings", "none", "--src-len", 7, "--tgt-len", 9)
    params, operations = printed["params"], printed["multiply_adds"]
    assert (params["embedding"], params["output"]) == (2 * 1000 * 512, 1000 * 512)
    assert params["without_embeddings"] == params["encoder"] + params["decoder"]
    assert params["total"] == params["without_embeddings"] + params["embedding"] + params["output"]
    assert operations["output"] == 9 * 512 * 1000
    assert operations["without_output"] == operations["encoder"] + operations["decoder"]
    assert operations["total"] == operations["without_output"] + operations["output"]
    expected = count_multiply_adds(Architecture.from_json(PUBLISHED), 7, 9)
    assert (operations["encoder"], operations["decoder"]) == (expected.encoder, expected.decoder)


def test_flags_reach_the_count(run: Run) -> None:
    printed = run(PUBLISHED, "--source-vocab", 10, "--target-vocab", 20, "--share-embeddings", "decoder", "--pre-norm")
    params = printed["params"]
    expected = count_parameters(Architecture.from_json(PUBLISHED), 10, 20, "decoder", pre_norm=True)
    assert (params["embedding"], params["output"], params["total"]) == (30 * 512, 0, expected.total)
    assert printed["multiply_adds"]["output"] == 30 * 512 * 20
    assert run(PUBLISHED, "--vocab", 0)["params"]["embedding"] == 0


def model_folder(folder: Path, **changes: Any) -> Path:
    config = {
        "format": "hat.transformer/1",
        "architecture": Architecture.from_json(PUBLISHED).to_dict(),
        "source_vocab_size": 10,
        "target_vocab_size": 20,
        "share_embeddings": "none",
        "pre_norm": True,
        "dropout": 0.3,
    }
    config.update(changes)
    write_json(folder / "config.json", {key: value for key, value in config.items() if value is not None})
    return folder


def test_a_model_folder_knows_its_vocabulary(run: Run, tmp_path: Path) -> None:
    printed = run(model_folder(tmp_path))["params"]
    expected = count_parameters(Architecture.from_json(PUBLISHED), 10, 20, "none", pre_norm=True)
    assert (printed["total"], printed["embedding"]) == (expected.total, expected.embedding)
    assert run(tmp_path / "config.json")["params"] == printed


def test_a_super_transformer_counts_as_its_largest_sub_transformer(run: Run, tmp_path: Path) -> None:
    space = SearchSpace.from_yaml(ROOT / "configs/space/demo.yaml")
    values = space.model_dump(mode="json")
    folder = model_folder(tmp_path, format="hat.super_transformer/1", space=values, architecture=None, pre_norm=False)
    assert run(folder)["params"]["total"] == count_parameters(space.largest(), 10, 20, "none").total


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "the following arguments are required: ARCHITECTURE_OR_MODEL"),
        (("none.json",), "none.json: no such file; an architecture or a model's config.json is expected here."),
        ((ROOT,), "config.json: no such file; an architecture or a model's config.json is expected here."),
        ((ROOT / "configs/space/demo.yaml",), "must be an architecture or a model's config.json, is not valid JSON"),
        ((PUBLISHED, "--vocab", "-3"), "--vocab: must be a whole number from 0 to 999999999, is '-3'"),
        ((PUBLISHED, "--vocab", "1e4"), "--vocab: must be a whole number from 0 to 999999999, is '1e4'"),
        ((PUBLISHED, "--src-len", "0"), "--src-len: must be a whole number from 1 to 999999999, is '0'"),
        ((PUBLISHED, "--source-vocab", "3"), "source_vocab_size and target_vocab_size must be given together"),
        ((PUBLISHED, "--vocab", "3", "--target-vocab", "4"), "--vocab: stands for both sides"),
        ((PUBLISHED, "--source-vocab", "3", "--target-vocab", "4"), "needs one joint vocabulary, sizes are 3 and 4"),
        ((PUBLISHED, "--share-embeddings", "some"), "--share-embeddings: invalid choice: 'some'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(argv: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(argument) for argument in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hat-count: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "argv", "message"),
    [
        ({}, ("--vocab", "3"), "is a model, which knows its vocabulary and options; leave those flags out"),
        ({"architecture": None}, (), "config.json: architecture: must be an architecture (a JSON object), is null"),
        ({"architecture": {"format": "x"}}, (), 'architecture: "format" must be "hat.architecture/1"'),
        ({"source_vocab_size": None}, (), "config.json: source_vocab_size: is required and has no value"),
        ({"target_vocab_size": -1}, (), "target_vocab_size: must be greater than or equal to 0, is -1"),
        ({"share_embeddings": "some"}, (), "share_embeddings: must be 'all', 'decoder' or 'none', is 'some'"),
        ({"share_embeddings": "all"}, (), "'all' needs one joint vocabulary, sizes are 10 and 20"),
        ({"format": "hat.super_transformer/1"}, (), "config.json: space: must be a section"),
        ({"format": "other"}, (), '"format" must be one of hat.transformer/1, hat.super_transformer/1'),
    ],
)
def test_a_damaged_model_folder_is_named(
    changes: dict[str, Any], argv: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(model_folder(tmp_path, **changes)), *argv]) == 2
    assert message in capsys.readouterr().err


def test_a_space_file_is_not_an_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = SearchSpace.from_yaml(ROOT / "configs/space/demo.yaml")
    write_json(tmp_path / "space.json", space.model_dump(mode="json"))
    assert main([str(tmp_path / "space.json")]) == 2
    assert '"format" must be "hat.architecture/1", is null' in capsys.readouterr().err


def test_it_runs_as_a_program_and_never_loads_torch() -> None:
    code = (
        "import sys\nfrom hat.cli.count import main\n"
        f"status = main([{str(PUBLISHED)!r}, '--vocab', '100'])\nsys.exit(status or 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["params"]["embedding"] == 51_200
