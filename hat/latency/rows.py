"""What predictors are fitted to. No torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Architectures and their latencies."""

    features: FloatArray
    """Shape (n, 10), in the order of ``FEATURE_NAMES``."""
    latency_ms: FloatArray
    """Shape (n,), above 0: what is to be predicted."""
    encoder_ms: FloatArray | None = None
    """Shape (n,): the part of ``latency_ms`` that the encoder took, where it is known and the rest is the decoder's.
    What only the encoder pays for is then not looked for in the decoder's noise, which is far larger."""

    def __len__(self) -> int:
        return len(self.latency_ms)

    def take(self, which: npt.NDArray[Any]) -> "Rows":
        """The rows of these numbers, or those where a mask is true."""
        encoder_ms = None if self.encoder_ms is None else self.encoder_ms[which]
        return Rows(self.features[which], self.latency_ms[which], encoder_ms)
