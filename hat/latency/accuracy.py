"""How close predictions are to measurements. No torch."""

from dataclasses import dataclass

import numpy as np

from hat.latency.rows import FloatArray


@dataclass(frozen=True)
class Accuracy:
    """Agreement of predictions with measurements; what is not defined for so few or so equal rows is None."""

    rows: int
    rmse_ms: float
    """Root of the mean squared error."""
    mape_percent: float
    """Mean absolute error relative to the measurement."""
    r2: float | None
    """Share of the measurements' variance that is explained."""
    kendall_tau: float | None
    """Kendall's tau-b: agreement of the two rankings, from -1 to 1."""

    @classmethod
    def of(cls, predicted_ms: FloatArray, measured_ms: FloatArray) -> "Accuracy":
        """Compare two arrays of shape (n,), n > 0; measurements are above 0."""
        error = predicted_ms - measured_ms
        spread = float(np.sum((measured_ms - measured_ms.mean()) ** 2))
        return cls(
            rows=len(measured_ms),
            rmse_ms=float(np.sqrt(np.mean(error**2))),
            mape_percent=float(100 * np.mean(np.abs(error) / measured_ms)),
            r2=1 - float(np.sum(error**2)) / spread if spread > 0 else None,
            kendall_tau=kendall_tau(predicted_ms, measured_ms),
        )


def kendall_tau(a: FloatArray, b: FloatArray) -> float | None:
    """Kendall's rank correlation tau-b of two arrays of shape (n,); None when all values of one are equal.

    Pairs that agree in order less pairs that do not, over the geometric mean of the numbers of pairs that are not
    tied in ``a`` and in ``b``. Every pair is looked at, so time and memory grow with n squared.

    Source: M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    order_a = np.sign(a[:, None] - a[None, :])
    order_b = np.sign(b[:, None] - b[None, :])
    untied = float(np.count_nonzero(order_a)) * float(np.count_nonzero(order_b))
    return float(np.sum(order_a * order_b)) / untied**0.5 if untied > 0 else None
