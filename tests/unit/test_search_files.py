"""The file of scores, line by line, and the script that compares searches."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from tiny_task import SPACE, make_data, make_predictor, super_settings, write_yaml

from hat import Architecture, SearchSpace
from hat.cli.train_super import main as train_super
from hat.config import load_config
from hat.errors import ConfigError, DataError
from hat.recipes.search_config import SearchConfig
from hat.search.scores import ScoreFile

ARCHITECTURE = SearchSpace.model_validate(SPACE).smallest()
SIZES = (2, 3)


def line(**changes: object) -> str:
    values = {"basis": "b", "part": 0, "losses": [1.5, 2.5], "architecture": ARCHITECTURE.to_dict()}
    return json.dumps(values | changes)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.jsonl"
    kept = ScoreFile(path, "b", SIZES)
    kept.add(ARCHITECTURE, 0, [1.5, 2.5])
    kept.add(ARCHITECTURE, 1, [float("nan"), 1.0, 1.0])  # no number: not kept
    kept.add(ARCHITECTURE, 1, [0.1, 1 / 3, 1e-5])
    again = ScoreFile(path, "b", SIZES)
    assert again.losses == kept.losses == {(ARCHITECTURE, 0): [1.5, 2.5], (ARCHITECTURE, 1): [0.1, 1 / 3, 1e-5]}
    assert ScoreFile(path, "other", (7,)).losses == {}
    assert len(path.read_text().splitlines()) == 2


def test_a_power_cut_at_the_first_score_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(line()[:-5])
    kept = ScoreFile(path, "b", SIZES)
    kept.add(ARCHITECTURE, 1, [1.0, 2.0, 3.0])
    assert ScoreFile(path, "b", SIZES).losses == {(ARCHITECTURE, 1): [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    "damaged",
    [
        line(losses=[1.5]), line(losses=[1.5, 2.5, 3.5]), line(losses=[1.5, "2.5"]), line(losses=[1.5, None]),
        line(losses=[1.5, float("nan")]), line(losses=3.0), line(part=2), line(part="0"), line(part=None),
        line(architecture={}), line(architecture=None), line(basis=7), "[]", "3", '"text"', line()[:-5],
    ],
)  # fmt: skip
def test_a_line_that_holds_no_losses_is_left_out(
    tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(f"{damaged}\n{line(part=1, losses=[1.0, 2.0, 3.0])}\n")
    kept = ScoreFile(path, "b", SIZES)
    assert kept.losses == {(ARCHITECTURE, 1): [1.0, 2.0, 3.0]}
    assert "1 of 2 lines are no scores and left out" in caplog.text
    path.write_text(damaged + "\n")
    with pytest.raises(DataError, match="must be scores of a search, is something else"):
        ScoreFile(path, "b", SIZES)
    assert path.read_text() == damaged + "\n"


def test_lines_of_an_earlier_version_stay_unused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "scores.jsonl"
    old = json.dumps({"basis": "b", "score": 2.5, "architecture": ARCHITECTURE.to_dict()})
    path.write_text(f"{old}\n")
    assert ScoreFile(path, "b", SIZES).losses == {}
    assert not caplog.records and path.read_text() == f"{old}\n"


def test_comparing_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    compare_searches = importlib.import_module("compare_searches")
    data = make_data(tmp_path / "task")
    settings = super_settings(data, tmp_path / "super", max_updates=4, final="last", log_every=20)
    assert train_super([write_yaml(tmp_path / "super.yaml", settings)]) == 0

    def latency_ms(architecture: Architecture) -> float:
        return 5.0 * len(architecture.decoder.layers) + 3.0 * len(architecture.encoder.layers)

    values = {
        "output": str(tmp_path / "compared"),
        "supertransformer": str(tmp_path / "super"),
        "predictor": str(make_predictor(tmp_path / "predictor", latency_ms)),
        "data": str(data),
        "latency_limit_ms": 14.0,
        "evolution": {"generations": 2, "population": 8, "parents": 2, "mutations": 3, "crossovers": 3},
        "device": "cpu",
        "threads": 1,
    }
    config = load_config(SearchConfig, write_yaml(tmp_path / "search.yaml", values))
    first = compare_searches.compare(config, [1])
    runs = json.loads((tmp_path / "compared" / "comparison.json").read_text())["results"]
    assert [run["procedure"] for run in runs] == ["paper", "in-parts", "random"]
    # Twelve sentences are one part: both procedures are the same here.
    assert runs[0]["loss"] == runs[1]["loss"] and runs[0]["best"] == runs[1]["best"]
    assert all(run["sentence_evaluations"] == 12 * run["scored"] == run["course"][-1][0] for run in runs)
    assert "| 1 | in-parts | " in first and "| 1.0 | the same |" in first
    assert "in-parts: at most 0.005 nats above the paper's best in 1 of 1 seeds, with 1.0 times fewer" in first
    assert (tmp_path / "compared" / "comparison.png").stat().st_size > 1000
    # What was run is not run again.
    monkeypatch.setattr(compare_searches, "evolutionary_search", None)
    monkeypatch.setattr(compare_searches, "random_search", None)
    assert compare_searches.compare(config, [1]) == first
    with pytest.raises(ConfigError, match=r"comparison\.json: holds results of other settings or models"):
        compare_searches.compare(config.model_copy(update={"latency_limit_ms": 13.0}), [1])
    sys.modules.pop("compare_searches")
