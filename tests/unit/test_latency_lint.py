"""The check of latency data sets: what was disturbed is found, and nothing else."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from hat.cli.measure_latency import main
from hat.errors import DataError
from hat.latency.lint import SHORTEST_RUN, Findings, check_latencies
from hat.latency.rows import FloatArray
from hat.space import SearchSpace
from hat.space.encoding import features

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/wmt_latency.yaml")


def calm_rows(rows: int, seed: int, noise: float = 0.01) -> tuple[FloatArray, FloatArray]:
    rng = random.Random(seed)
    table = np.array([features(SPACE.sample(rng)) for _ in range(rows)])
    latency_ms = 20 + table[:, 5] * (10 + 2e-5 * table[:, 4] * table[:, 6] + 3 * table[:, 9])
    return table, latency_ms * np.exp(np.random.default_rng(seed).normal(0, noise, rows))


def spans(findings: Findings) -> list[tuple[int, int]]:
    return [(run.first_row, run.last_row) for run in findings.shifted]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_calm_rows_are_left_alone(seed: int, noise: float) -> None:
    findings = check_latencies(*calm_rows(300, seed, noise))
    assert findings.shifted == ()
    assert len(findings.outliers) == 0
    assert findings.noise_percent == pytest.approx(100 * noise, rel=0.4)


@pytest.mark.parametrize(
    ("start", "end", "factor"), [(0, 60, 1.42), (140, 190, 1.2), (280, 300, 1.3), (100, 120, 0.8), (0, 140, 1.25)]
)
def test_shifted_rows_are_found_to_the_row(start: int, end: int, factor: float) -> None:
    table, latency_ms = calm_rows(300, 1)
    latency_ms[start:end] *= factor
    findings = check_latencies(table, latency_ms)
    assert spans(findings) == [(start, end - 1)]
    assert findings.shifted[0].shift_percent == pytest.approx(100 * (factor - 1), abs=1.5)
    assert findings.outliers == () and findings.noise_percent < 1.5


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.7, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_shifted_may_be_a_large_part(share: float, seed: int) -> None:
    """Where most rows are shifted, the others are what differs."""
    table, latency_ms = calm_rows(200, seed, noise=0.03)
    start = round(200 * (1 - share))
    latency_ms[start:] *= 1.3
    (run,) = check_latencies(table, latency_ms).shifted
    first, end, shift = (start, 200, 30) if share < 0.5 else (0, start, -23)
    assert run.first_row == pytest.approx(first, abs=4) and run.last_row == pytest.approx(end - 1, abs=4)
    assert run.shift_percent == pytest.approx(shift, abs=4)


def test_small_shifts_are_found_where_there_is_little_noise() -> None:
    found, alarms = 0, 0
    for trial in range(20):
        table, latency_ms = calm_rows(500, trial, noise=0.006)
        start = int(np.random.default_rng(trial).integers(0, 480))
        latency_ms[start : start + 20] *= 1.05
        runs = check_latencies(table, latency_ms).shifted
        hits = [run for run in runs if run.first_row < start + 20 and run.last_row >= start]
        found, alarms = found + len(hits), alarms + len(runs) - len(hits)
    assert found >= 19 and alarms == 0


def test_several_stretches_and_single_rows() -> None:
    table, latency_ms = calm_rows(400, 1)
    latency_ms[30:80] *= 1.3
    latency_ms[80:120] *= 0.75
    latency_ms[200:260] *= 1.2
    latency_ms[[5, 300]] *= [2.0, 0.8]
    findings = check_latencies(table, latency_ms)
    assert spans(findings) == [(30, 79), (80, 119), (200, 259)]
    assert [outlier.row for outlier in findings.outliers] == [5, 300]
    assert [outlier.off_percent for outlier in findings.outliers] == pytest.approx([100, -20], abs=4)


def test_a_few_rows_in_turn_are_outliers_not_a_stretch() -> None:
    table, latency_ms = calm_rows(300, 1)
    latency_ms[100 : 100 + SHORTEST_RUN - 3] *= 1.5
    findings = check_latencies(table, latency_ms)
    assert findings.shifted == ()
    assert [outlier.row for outlier in findings.outliers] == list(range(100, 100 + SHORTEST_RUN - 3))


def test_rows_without_a_level_in_common_are_no_reason_to_break() -> None:
    table, latency_ms = calm_rows(300, 1)
    for width in (10, 25, 60):
        levels = 1.5 ** np.random.default_rng(width).permutation(300 // width)
        findings = check_latencies(table, latency_ms * np.repeat(levels, width))
        assert findings.noise_percent > 0 and findings.rows == 300


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="at least 30 rows to be checked, has 29"):
        check_latencies(*calm_rows(29, 1))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, latency_ms = calm_rows(60, 1)
    latency_ms[10:30] *= 1.3
    path = tmp_path / "latency.csv"
    names = "encoder_embed_dim,encoder_layer_num,encoder_ffn_embed_dim_avg,encoder_self_attention_heads_avg,"
    names += "decoder_embed_dim,decoder_layer_num,decoder_ffn_embed_dim_avg,decoder_self_attention_heads_avg,"
    names += "decoder_ende_attention_heads_avg,decoder_arbitrary_ende_attn_avg,"
    names += "latency_mean_encoder,latency_mean_decoder,latency_std_encoder,latency_std_decoder"
    rows = [",".join(map(str, [*row, 1.0, ms - 1.0, 0.1, 0.1])) for row, ms in zip(table, latency_ms, strict=True)]
    path.write_text("\n".join([names, *rows, ""]), encoding="utf-8")
    for arguments in (["--check", str(path)], [f"--check={path}"]):
        assert main(arguments) == 0
        out, err = capsys.readouterr()
        assert [(run["first_row"], run["last_row"]) for run in json.loads(out)["shifted"]] == [(10, 29)]
        assert "rows 10 to 29 were measured under other conditions: +" in err
    assert main(["--check", str(tmp_path / "none.csv")]) == 2
    assert "none.csv: no such file" in capsys.readouterr().err
    assert main(["--check"]) == 2
    for others in (["--restart"], ["config.yaml"]):
        assert main(["--check", str(path), *others]) == 2
        assert main([*others, "--check", str(path)]) == 2
