"""hat-search with a real predictor and made-up measurements: several limits, what is predicted only, and --from."""

import dataclasses
import functools
import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_task import SPACE, make_data, make_predictor, super_settings, write_yaml

from hat import Architecture, SearchSpace, SuperTransformer, Transformer
from hat.cli.search import main
from hat.cli.train_super import main as train_super
from hat.config import load_config
from hat.data.parts import nested_parts
from hat.errors import BackendError, SearchError
from hat.latency.device import describe
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import LatencySettings
from hat.latency.stopwatch import Reading
from hat.recipes import search_losses
from hat.recipes.search import search
from hat.recipes.search_config import SearchConfig
from hat.recipes.search_losses import Evaluator
from hat.space.counting import count_parameters

SPACE_ = SearchSpace.model_validate(SPACE)
EVOLUTION = {"generations": 3, "population": 12, "parents": 4, "mutations": 5, "crossovers": 3}


def encoder_ms(architecture: Architecture) -> float:
    heads = sum(layer.self_attn_heads for layer in architecture.encoder.layers)
    return 3.0 * len(architecture.encoder.layers) + 0.05 * architecture.encoder.embed_dim + 0.1 * heads


def true_ms(architecture: Architecture) -> float:
    decoder = architecture.decoder
    heads = sum(layer.self_attn_heads + 2 * layer.cross_attn_heads for layer in decoder.layers)
    return encoder_ms(architecture) + 5.0 * len(decoder.layers) + 0.05 * decoder.embed_dim + 0.1 * heads


def encoder_share(architecture: Architecture) -> float:
    return encoder_ms(architecture) / true_ms(architecture)


def slow_pi_ms(architecture: Architecture) -> float:
    return 300.0 + 100.0 * len(architecture.encoder.layers) + 2.0 * architecture.encoder.embed_dim


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = make_data(folder / "task")
    settings = super_settings(data, folder / "super", max_updates=20, final="last", log_every=20)
    assert train_super([write_yaml(folder / "super.yaml", settings)]) == 0
    make_predictor(folder / "predictor", true_ms, encoder_share)
    rng = random.Random(1)
    make_predictor(folder / "rough", lambda architecture: true_ms(architecture) * rng.uniform(0.8, 1.2), encoder_share)
    make_predictor(folder / "pi", slow_pi_ms, lambda architecture: 1 - 1 / slow_pi_ms(architecture))
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve sentences are three parts."""
    monkeypatch.setattr(search_losses, "nested_parts", functools.partial(nested_parts, least=3))


def config_of(runs: Path, output: Path, **changes: Any) -> str:
    settings = {
        "output": str(output),
        "supertransformer": str(runs / "super"),
        "predictor": str(runs / "predictor"),
        "data": str(runs / "task" / "bin"),
        "scores": str(runs / "scores.jsonl"),
        "latency_limit_ms": 14.0,
        "evolution": EVOLUTION,
        "device": "cpu",
        "threads": 1,
        "measure": False,
    }
    return write_yaml(output.parent / "search.yaml", settings | changes)


def found_in(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "architecture.json").read_text())["found"]
    return found


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_what_is_predicted_only_says_so_and_keeps_the_limit_with_its_upper_end(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = LatencyPredictor.load(runs / "rough")
    rng = random.Random(1)
    fastest = min((predictor.predict(SPACE_.sample(rng)) for _ in range(2000)), key=lambda one: one.latency_ms)
    assert fastest.high_ms is not None
    between_ms = (fastest.latency_ms + fastest.high_ms) / 2  # surely kept by none, and expected to be by some
    for bound, limit_ms, status in (("upper", 14.0, 0), ("expected", between_ms, 0), ("upper", between_ms, 2)):
        output = tmp_path / f"{bound}_{status}"
        rough = {"predictor": str(runs / "rough"), "latency_limit_ms": limit_ms}
        assert main([config_of(runs, output, predicted_limit=bound, **rough)]) == status
        err = capsys.readouterr().err
        if status:
            assert f"within {limit_ms:.4g} ms: the fastest of" in err
            assert float(err.partition(" needs ")[2].split()[0]) <= fastest.high_ms * 1.001  # printed with four digits
            continue
        found = found_in(output)
        prediction = predictor.predict(Architecture.from_json(output / "architecture.json"))
        assert found["latency_is"] == "predicted only" and "measured_ms" not in found
        assert found["predicted_upper_ms"] == pytest.approx(prediction.high_ms, abs=1e-3)
        assert found["predicted_ms"] <= limit_ms and (found["predicted_upper_ms"] <= limit_ms) == (bound == "upper")
        message = f"predicted only: {prediction.latency_ms:.4g} ms, nine in ten such networks take"
        assert message in err


def test_every_limit_is_kept_and_reported(runs: Path, tmp_path: Path) -> None:
    model = SuperTransformer.from_pretrained(runs / "super")
    sizes = model.source_vocab_size, model.target_vocab_size
    members = {SPACE_.sample(random.Random(seed)) for seed in range(100)}
    counts = sorted(count_parameters(member, *sizes, "none").total for member in members)
    limits = {
        "parameters": counts[60],
        "multiply_adds": 60_000,
        "source_length": 6,
        "target_length": 6,
        "size_mb": counts[40] * 4e-6,
        "devices": [{"predictor": str(runs / "pi"), "latency_limit_ms": 430.0}],
    }
    assert main([config_of(runs, tmp_path / "search", limits=limits)]) == 0
    architecture = Architecture.from_json(tmp_path / "search" / "architecture.json")
    values = found_in(tmp_path / "search")["limits"]
    device = f"latency of {runs / 'pi'}"
    assert list(values) == ["parameters", "multiply-adds", "size", device]
    assert all(item["value"] <= item["limit"] for item in values.values())
    assert values["parameters"]["value"] == count_parameters(architecture, *sizes, "none").total
    assert len(architecture.encoder.layers) == 1  # two take 500 ms on the other device
    # The size is that of the file, but for its header.
    model.extract(architecture).save_pretrained(tmp_path / "sub")
    path = tmp_path / "sub" / "model.safetensors"
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert values["size"]["value"] == pytest.approx((path.stat().st_size - header) / 1e6, abs=1e-3)


def unsure(folder: Path, output: Path, **changes: Any) -> Path:
    """The predictor of a folder, as one of a few rows is: without an interval."""
    predictor = LatencyPredictor.load(folder)
    predictor.calibration = dataclasses.replace(predictor.calibration, relative_error_90=None, **changes)
    predictor.save(output)
    return output


def test_a_predictor_without_an_interval_is_told(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the main device and of a further one: the expected latency keeps the limit, and the log says so."""
    few, pi = unsure(runs / "predictor", tmp_path / "few"), unsure(runs / "pi", tmp_path / "few_pi")
    for bound, told in (("upper", True), ("expected", False)):
        output = tmp_path / bound
        limits = {"devices": [{"predictor": str(pi), "latency_limit_ms": 430.0}]}
        assert main([config_of(runs, output, predictor=str(few), limits=limits, predicted_limit=bound)]) == 0
        err = capsys.readouterr().err
        for folder in (few, pi):
            assert (f"{folder}: was fitted to too few rows for an interval; expected latencies keep" in err) == told
        assert "there were too few measurements to tell how far that can be trusted" in err
        found = found_in(output)
        assert found["predicted_upper_ms"] is None and found["predicted_ms"] <= 14.0
        assert found["limits"][f"latency of {pi}"]["value"] <= 430.0
    assert (tmp_path / "upper/architecture.json").read_bytes() == (tmp_path / "expected/architecture.json").read_bytes()


def test_what_is_unlike_all_that_was_measured_is_told(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "what was found is unlike all that was measured: its latency is extrapolated"
    assert main([config_of(runs, tmp_path / "known")]) == 0
    assert told not in capsys.readouterr().err and found_in(tmp_path / "known")["extrapolates"] is False
    lowest = LatencyPredictor.load(runs / "predictor").calibration.lowest
    narrow = unsure(runs / "predictor", tmp_path / "narrow", highest=lowest)
    assert main([config_of(runs, tmp_path / "unlike", predictor=str(narrow))]) == 0
    assert told in capsys.readouterr().err and found_in(tmp_path / "unlike")["extrapolates"] is True


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, False),
        ({"source_vocab_size": 17, "target_vocab_size": 15}, False),  # within a tenth
        ({"source_vocab_size": 20}, True),
        ({"target_vocab_size": 12}, True),
        ({"share_embeddings": "decoder"}, True),
        ({"pre_norm": True}, True),
    ],
)
def test_a_device_that_was_measured_with_other_networks_is_told(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: bool
) -> None:
    model = SuperTransformer.from_pretrained(runs / "super")
    assert (model.source_vocab_size, model.target_vocab_size, model.options.share_embeddings) == (16, 16, "none")
    same = {"source_length": 5, "target_length": 5, "source_vocab_size": 16, "target_vocab_size": 16, "device": "cpu"}
    predictor = LatencyPredictor.load(runs / "pi")
    predictor.device = describe(LatencySettings(**{**same, "share_embeddings": "none"} | changes))
    predictor.save(tmp_path / "pi")
    limits = {"devices": [{"predictor": str(tmp_path / "pi"), "latency_limit_ms": 430.0}]}
    assert main([config_of(runs, tmp_path / "search", limits=limits)]) == 0
    assert (f"{tmp_path / 'pi'}: was measured with" in capsys.readouterr().err) == told


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"parameters": 10}, "has parameters of at most 10: the lowest found is"),
        ({"size_mb": 0.001}, "has size of at most 0.001 MB: the lowest found is"),
        ({"multiply_adds": 7}, "has multiply-adds of at most 7: the lowest found is"),
    ],
)
def test_limits_nothing_keeps(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limits: dict[str, Any], message: str
) -> None:
    assert main([config_of(runs, tmp_path / "search", limits=limits)]) == 2
    assert message in failure(capsys)
    assert not (tmp_path / "search" / "architecture.json").exists()


def test_mistakes_in_limits(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = {"predictor": str(tmp_path / "none"), "latency_limit_ms": 5.0}
    assert main([config_of(runs, tmp_path / "search", limits={"devices": [device]})]) == 2
    assert "none/predictor.json: no such file" in failure(capsys)
    assert main([config_of(runs, tmp_path / "search", limits={"size_mb": 0})]) == 2
    assert "limits.size_mb: must be greater than 0, is 0" in failure(capsys)
    assert main([config_of(runs, tmp_path / "search", limits={"parameter": 5})]) == 2
    assert "limits.parameter: no such setting. Did you mean 'parameters'?" in failure(capsys)
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize("algorithm", ["random", "nsga2"])
def test_other_algorithms(runs: Path, tmp_path: Path, algorithm: str) -> None:
    for name in ("first", "second"):
        assert main([config_of(runs, tmp_path / name, algorithm=algorithm)]) == 0
    for file in ("architecture.json", "history.jsonl", "pareto.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    found = found_in(tmp_path / "first")
    history = [json.loads(line) for line in (tmp_path / "first" / "history.jsonl").read_text().splitlines()]
    assert found["algorithm"] == algorithm
    assert [line["generation"] for line in history] == [0, 1, 2, 3]
    assert history[-1]["sentence_evaluations"] == found["sentence_evaluations"] <= 12 * found["scored"]
    front = json.loads((tmp_path / "first" / "pareto.json").read_text())
    for one, other in itertools.pairwise(front):
        assert one["predicted_ms"] < other["predicted_ms"] and one["validation_loss"] > other["validation_loss"]
    chosen = [item for item in front if item["validation_loss"] == found["validation_loss"]]
    if algorithm == "nsga2":
        assert [Architecture.from_dict(item["architecture"]) for item in chosen] == [
            Architecture.from_json(tmp_path / "first" / "architecture.json")
        ]


def readings(factor: float, measured: list[Architecture]) -> Any:
    def read(net: Transformer, limit_ms: float, confidence: float) -> Reading:
        measured.append(net.architecture)
        ms = factor * true_ms(net.architecture)
        return Reading(ms, ms, ms, ms)

    return read


def test_picking_from_a_front_is_filtering_it(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([config_of(runs, tmp_path / "all", algorithm="nsga2", latency_limit_ms=1000.0)]) == 0
    path = tmp_path / "all" / "pareto.json"
    front = json.loads(path.read_text())
    assert len(front) >= 2
    before = path.read_bytes()
    monkeypatch.setattr(Evaluator, "losses", lambda *_: pytest.fail("something was scored"))
    predictor = LatencyPredictor.load(runs / "predictor")
    for number, item in enumerate(front):
        limit_ms = predictor.predict(Architecture.from_dict(item["architecture"])).high_ms
        assert main([config_of(runs, tmp_path / "one"), "--from", str(path), "--latency", f"{limit_ms + 1e-6}ms"]) == 0
        found = found_in(tmp_path / "one")
        fitting = [
            other["validation_loss"]
            for other in front
            if predictor.predict(Architecture.from_dict(other["architecture"])).high_ms <= limit_ms + 1e-6
        ]
        assert found["validation_loss"] == min(fitting) == front[number]["validation_loss"]
        assert found["front"] == str(path) and "scored" not in found
    assert path.read_bytes() == before
    capsys.readouterr()
    assert main([config_of(runs, tmp_path / "none"), "--from", str(path), "--latency", "1ms"]) == 2
    assert f"none of the {len(front)} networks of the front is predicted to run within 1 ms: the fastest" in failure(
        capsys
    )


def test_what_is_picked_is_measured_and_the_next_taken_where_it_is_too_slow(runs: Path, tmp_path: Path) -> None:
    assert main([config_of(runs, tmp_path / "all", algorithm="nsga2", latency_limit_ms=1000.0)]) == 0
    path = tmp_path / "all" / "pareto.json"
    front = [Architecture.from_dict(item["architecture"]) for item in json.loads(path.read_text())]
    limit_ms = 1.02 * true_ms(front[-1])
    between = limit_ms / math.sqrt(true_ms(front[-1]) * true_ms(front[-2]))  # too slow for the best, not for the next
    for factor in (1.0, between):
        measured: list[Architecture] = []
        config = load_config(SearchConfig, config_of(runs, tmp_path / "one", measure=True, latency_limit_ms=limit_ms))
        search(config, front=path, read=readings(factor, measured))
        best = Architecture.from_json(tmp_path / "one" / "architecture.json")
        assert best == measured[-1] and measured[0] == front[-1]
        assert best == front[-1 if factor == 1 else -2]
        found = found_in(tmp_path / "one")
        assert found["latency_is"] == "measured" and found["measured_upper_ms"] <= limit_ms


def test_where_no_network_of_the_front_is_left_the_search_goes_on_between_them(runs: Path, tmp_path: Path) -> None:
    assert main([config_of(runs, tmp_path / "all", algorithm="nsga2")]) == 0
    front = {
        Architecture.from_dict(item["architecture"])
        for item in json.loads((tmp_path / "all" / "pareto.json").read_text())
    }
    measured: list[Architecture] = []
    measure = readings(1.0, measured)

    def read(net: Transformer, limit_ms: float, confidence: float) -> Reading:
        if net.architecture in front:
            raise BackendError("fails on it")
        return measure(net, limit_ms, confidence)

    config = load_config(SearchConfig, config_of(runs, tmp_path / "one", algorithm="nsga2", measure=True))
    found = Architecture.from_json(search(config, read=read))
    assert found == measured[-1] and found not in front and true_ms(found) <= config.latency_limit_ms


def test_a_function_of_ones_own_can_measure(runs: Path, tmp_path: Path) -> None:
    """For example on a board that hat does not run on; the predictor need not say how its data were measured."""
    measured: list[Architecture] = []
    config = load_config(SearchConfig, config_of(runs, tmp_path / "search", measure=True))
    path = search(config, read=readings(1.2, measured))
    found = found_in(tmp_path / "search")
    assert Architecture.from_json(path) == measured[-1] and len(measured) <= 3
    assert found["measured_ms"] == pytest.approx(1.2 * true_ms(measured[-1]), abs=1e-3) and found["measured_ms"] <= 14.0
    assert found["device"] is None and found["slowdown"] is None


def test_fronts_that_do_not_fit(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([config_of(runs, tmp_path / "all", algorithm="nsga2")]) == 0
    front = json.loads((tmp_path / "all" / "pareto.json").read_text())
    path = tmp_path / "pareto.json"

    def refused(content: object) -> str:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        capsys.readouterr()
        assert main([config_of(runs, tmp_path / "one"), "--from", str(path), "--latency", "14ms"]) == 2
        assert not (tmp_path / "one").exists()
        return failure(capsys)

    for content, found in (
        ("", "is not valid JSON"),
        ("{}", "a list of networks, is {}"),
        ("[]", "is []"),
        ("[" * 9999, ""),
    ):
        assert f"{path}: must be the pareto.json of a search" in refused(content) and found in refused(content)
    assert "item 1: must have a validation_loss that is a number, has null" in refused([{}])
    assert "item 1: must have a validation_loss that is a number, has null" in refused([3])
    assert "item 2: must have a validation_loss" in refused([front[0], {**front[-1], "validation_loss": float("nan")}])
    assert f"{path}, item 1" in refused([{**front[0], "architecture": {"format": "hat.architecture/1"}}])
    wide = json.loads(json.dumps(front[0]["architecture"]))
    wide["decoder"]["embed_dim"] = 640
    message = refused([{**front[0], "architecture": wide}])
    assert (
        "item 1: must be a SubTransformer of this SuperTransformer, is none: decoder.embed_dim must be one of"
        in message
    )
    assert "was scored with the weights of another SuperTransformer" in refused([{**front[0], "supertransformer": "0"}])
    capsys.readouterr()
    assert main([config_of(runs, tmp_path / "one"), "--from", str(tmp_path / "missing.json")]) == 2
    assert "missing.json: no such file; the front of a search is expected here" in failure(capsys)


def test_parts_are_kept_and_only_the_rest_is_scored(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Architecture, int]] = []
    losses = Evaluator.losses

    def counted(evaluator: Evaluator, architectures: Sequence[Architecture], part: int) -> list[list[float]]:
        asked.extend((architecture, part) for architecture in architectures)
        return losses(evaluator, architectures, part)

    monkeypatch.setattr(Evaluator, "losses", counted)
    scores = str(tmp_path / "scores.jsonl")
    scoring = {"references": 2, "tolerance": 0.02, "confidence": 0.6}
    assert main([config_of(runs, tmp_path / "parts", scores=scores, scoring=scoring)]) == 0
    found, in_parts = found_in(tmp_path / "parts"), len(asked)
    assert found["sentence_evaluations"] < 12 * found["scored"]
    assert len(set(asked)) == len(asked) == len(Path(scores).read_text().splitlines())
    # The paper's procedure, with the same file: what is known is not computed again, and counted all the same.
    full = {**scoring, "stop_early": False}
    assert main([config_of(runs, tmp_path / "full", scores=scores, scoring=full)]) == 0
    everything = found_in(tmp_path / "full")
    assert everything["sentence_evaluations"] == 12 * everything["scored"]
    assert len(set(asked)) == len(asked) > in_parts
    assert everything["validation_loss"] <= found["validation_loss"] + 0.02


def test_the_front_stays_where_its_first_limit_cannot_be_kept(runs: Path, tmp_path: Path) -> None:
    output = tmp_path / "search"
    lowest = config_of(runs, output, algorithm="nsga2", latency_limit_ms=9.35, predicted_limit="expected", measure=True)
    with pytest.raises(SearchError):
        search(load_config(SearchConfig, lowest), read=readings(10.0, []))
    assert len(json.loads((output / "pareto.json").read_text())) >= 2 and not (output / "architecture.json").exists()
    assert main([config_of(runs, tmp_path / "one", latency_limit_ms=100.0), "--from", str(output / "pareto.json")]) == 0
