"""The public latency sets: they are read, and the paper's network learns them.

The sets are those published with HAT (arXiv:2005.14187). Bounds leave some room above what
three seeds gave.
"""

from pathlib import Path

import numpy as np
import pytest

from hat.latency.accuracy import Accuracy
from hat.latency.dataset import LatencyDataset
from hat.latency.fitting import MLPOptions, fit_mlp
from hat.latency.rows import Rows
from hat.space.encoding import FEATURE_NAMES

MEAN_MS = {  # over all rows of a set
    "iwslt14deen_gpu_titanxp": 126.7,
    "wmt14ende_cpu_raspberrypi": 5795,
    "wmt14ende_cpu_xeon": 268.1,
    "wmt14ende_gpu_titanxp": 166.1,
    "wmt14enfr_cpu_raspberrypi": 6478,
    "wmt19ende_gpu_titanxp": 160.0,
}


def load(shared: Path, name: str) -> LatencyDataset:
    return LatencyDataset.load(shared / "reference" / "latency" / f"{name}.csv")


@pytest.mark.parametrize("name", MEAN_MS)
def test_public_sets_are_read(shared: Path, name: str) -> None:
    data = load(shared, name)
    assert len(data) == 2000
    assert data.architectures is None
    assert data.latency_ms().mean() == pytest.approx(MEAN_MS[name], rel=1e-3)
    assert np.isin(data.features[:, FEATURE_NAMES.index("decoder_layer_num")], range(1, 7)).all()
    assert np.isin(data.features[:, FEATURE_NAMES.index("encoder_embed_dim")], [512, 640]).all()


@pytest.mark.parametrize(
    ("name", "train_rows", "mape_percent"),
    # The authors' recipe, trained on 1,600 rows of the first set, came to 1.1 %.
    [("wmt14enfr_cpu_raspberrypi", None, 1.0), ("wmt14enfr_cpu_raspberrypi", 100, 2.0), ("wmt14ende_cpu_xeon", 100, 7)],
)
def test_accuracy(shared: Path, name: str, train_rows: int | None, mape_percent: float) -> None:
    data = load(shared, name)
    split = data.split(seed=1, train_rows=train_rows)
    latency_ms = data.latency_ms()
    rows = Rows(data.features, latency_ms)
    train, valid = rows.take(split.train), rows.take(split.valid)
    model = fit_mlp(train, valid, MLPOptions(), seed=1)
    accuracy = Accuracy.of(model.predict_ms(data.features[split.test]), latency_ms[split.test])
    assert accuracy.rows == 200
    assert accuracy.mape_percent < mape_percent
    assert accuracy.kendall_tau is not None
    assert accuracy.kendall_tau > 0.85
