"""Say what is wrong with a latency data set."""

import json
import logging
from pathlib import Path

from hat.latency.dataset import LatencyDataset
from hat.latency.lint import check_latencies

logger = logging.getLogger(__name__)


def check_latency(path: Path) -> str:
    """Findings about a latency CSV as JSON; each is also told in words.

    Raises:
        DataError: if the file is no latency data set, or has too few rows.
    """
    data = LatencyDataset.load(path)
    findings = check_latencies(data.features, data.latency_ms(), data.name)
    for run in findings.shifted:
        logger.info(
            "rows %d to %d were measured under other conditions: %+.1f %%", run.first_row, run.last_row,
            run.shift_percent,
        )  # fmt: skip
    if findings.outliers:
        logger.info("single rows that are far off: %d", len(findings.outliers))
    logger.info("%s: %d rows, noise %.1f %%", path, findings.rows, findings.noise_percent)
    return json.dumps(findings.to_dict(), indent=2)
