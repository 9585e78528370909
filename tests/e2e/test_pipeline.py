"""All commands, one after the other, on a little of the demonstration corpus with the demonstration's own configs."""

import gzip
import io
import json
import re
from pathlib import Path

import pytest

from hat.artifacts import read_json
from hat.cli import (
    count,
    evaluate,
    measure_latency,
    prepare,
    report,
    search,
    train_predictor,
    train_sub,
    train_super,
    translate,
)
from hat.nn import Transformer
from hat.space import Architecture, SearchSpace

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "demo"
QUICK = ["training.max_updates=30", "training.schedule.warmup_updates=10", "training.validate_every=30"]
QUICK += ["training.checkpoint_every=15", "training.log_every=10", "training.threads=1", "training.max_tokens=1024"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the first 600 training and 20 other pairs of the corpus, from which the commands run."""
    (tmp_path / "data" / "demo").mkdir(parents=True)
    for split, lines in (("train", 600), ("valid", 20), ("test", 20)):
        for side in ("de", "en"):
            name = f"{split}.{side}.gz"
            text = gzip.decompress((ROOT / "data" / "demo" / name).read_bytes()).decode()
            (tmp_path / "data" / "demo" / name).write_bytes(
                gzip.compress("".join(text.splitlines(keepends=True)[:lines]).encode())
            )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_in_turn(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: object, *arguments: str) -> str:
        capsys.readouterr()
        status = command.main(list(arguments))  # type: ignore[attr-defined]
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out.strip()

    data = run(prepare, str(CONFIGS / "prepare.yaml"), "workers=1", "tokenizer.merges=200")
    assert data == "data-bin/demo"
    super_folder = run(train_super, str(CONFIGS / "train_super.yaml"), *QUICK)
    latency = ["samples=12", "settings.runs=3", "settings.warmup_runs=1", "settings.target_length=4"]
    run(measure_latency, str(CONFIGS / "measure_latency.yaml"), *latency)
    rows = (project / "runs/demo/latency/latency.csv").read_text().splitlines()
    assert len(rows) == 1 + 12
    run(train_predictor, str(CONFIGS / "train_predictor.yaml"))
    assert read_json("runs/demo/predictor/metrics.json", "metrics")["train_rows"] >= 8

    quick_search = ["evolution.generations=2", "evolution.population=8", "evolution.parents=2", "evolution.mutations=3"]
    found = run(
        search, str(CONFIGS / "search.yaml"), "--latency", "10s", *quick_search, "evolution.crossovers=3", "threads=1"
    )
    architecture = Architecture.from_json(found)
    assert architecture in SearchSpace.from_yaml(ROOT / "configs/space/demo.yaml")
    facts = read_json(found, "an architecture")["found"]
    assert facts["limit_ms"] == 10_000 and 0 < facts["measured_ms"] <= 10_000
    history = [json.loads(line) for line in (project / "runs/demo/search/history.jsonl").read_text().splitlines()]
    assert [line["generation"] for line in history] == [0, 1, 2]

    sub_folder = run(train_sub, str(CONFIGS / "train_sub.yaml"), "--inherit", super_folder, *QUICK)
    scratch_folder = run(train_sub, str(CONFIGS / "train_scratch.yaml"), "--from-scratch", *QUICK)
    for folder in (sub_folder, scratch_folder):
        net = Transformer.from_pretrained(folder)
        assert net.architecture == architecture
        counted = json.loads(run(count, folder))["params"]["total"]
        assert counted == sum(weight.numel() for weight in net.weights().values())
        for name in ("config.yaml", "metrics.jsonl", "run.json"):
            assert (project / folder / name).is_file()

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Der Hund schläft .\n\nIch bin alt .\n".encode())))
    lines = run(translate, sub_folder, "--beam", "2", "decoding.max_length_offset=10").split("\n")
    assert len(lines) == 3 and lines[1] == ""
    results = json.loads(run(evaluate, str(CONFIGS / "evaluate.yaml")))
    assert results["sentences"] == 20 and results["bleu"]["sacrebleu"]["signature"]
    assert results == read_json("runs/demo/evaluation/evaluation.json", "an evaluation")
    page = (project / run(report, "runs/demo", data, "--output", "runs/demo/report")).read_text(encoding="utf-8")
    shown = set(re.findall(r"<h2[^>]*>([^<]*)", page))
    assert len(shown) == 8 and {"Search", "Architectures", "Data", "Quality of the trained models"} <= shown
    assert f"{results['bleu']['tokenized']:.2f}" in page and str(architecture) in page


def test_a_limit_nothing_can_keep_names_the_fastest_network(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main([str(CONFIGS / "prepare.yaml"), "workers=1", "tokenizer.merges=200"]) == 0
    assert train_super.main([str(CONFIGS / "train_super.yaml"), *QUICK, "training.max_updates=2"]) == 0
    latency = ["samples=12", "settings.runs=2", "settings.warmup_runs=1", "settings.target_length=2"]
    assert measure_latency.main([str(CONFIGS / "measure_latency.yaml"), *latency]) == 0
    assert train_predictor.main([str(CONFIGS / "train_predictor.yaml")]) == 0
    capsys.readouterr()
    assert search.main([str(CONFIGS / "search.yaml"), "--latency", "0.001ms"]) == 2
    warning, error = capsys.readouterr().err.strip().splitlines()
    assert "was measured with 1800 and 1800 source and target tokens" in warning
    # Which one that is, twelve noisy measurements do not decide.
    assert re.search(r"the fastest of \d+ needs [0-9.e+-]+ ms \(enc \d+x\d dec \d+x\d\)", error)
