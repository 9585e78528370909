"""What a machine's pace does to latencies that were measured at different times, network by network. No torch.

An *anchor* that is timed in turn with every network says how much longer the machine takes when it heats up or shares
its processor. But small networks may slow down less than the anchor does.
"""

from dataclasses import dataclass

import numpy as np

from hat.latency.rows import FloatArray

MOST_LAG = 2.0
"""Networks that take six tenths of the anchor's time do not follow it at all then."""
MOST_SCATTER = 1.0
"""Some networks do not follow at all then, others by the square."""
FREEDOM = 3
"""Degrees of freedom of the Student t distribution that exponents and errors are taken to have."""
_SURE = 2.353
"""Nineteen in twenty of its draws are below so many scales."""


@dataclass(frozen=True)
class Pace:
    """The pace that latencies are given at, and how networks follow when the machine's pace is another.

    Where the anchor takes a times as long, networks that take as long as it or longer take a times as long, too. Those
    that take less take a^e times as long, ``e = 1 - lag * log(time of the anchor / time of the network)``, 0 at least,
    with the times that both take at this pace.
    """

    anchor_ms: float
    """Total latency of the anchor at this pace."""
    lag: float = 0.0
    """How much smaller the exponent is of a network that takes 1/2.718 of the anchor's time; 0 if all follow alike."""
    scatter: float = 0.0
    """How far single networks' exponents are from that: the scale of a Student t distribution."""

    def exponent(self, ratio: float | FloatArray) -> FloatArray:
        """That of networks that take ``ratio`` times as long as the anchor at this pace: from 0 to 1, of its shape."""
        return self._exponent(np.log(ratio))

    def factor(self, now_ms: float | FloatArray, anchor_now_ms: float | FloatArray) -> FloatArray:
        """What a network's times are to be multiplied by, to be what they are at this pace; shape () or (n,).

        Args:
            now_ms: total latency of the network as it was measured; or of n networks, shape (n,).
            anchor_now_ms: that of the anchor, timed in turn with it; likewise.
        """
        return np.asarray(np.divide(self.anchor_ms, anchor_now_ms) ** self._exponent_now(now_ms, anchor_now_ms))

    def bounds(self, now_ms: float, anchor_now_ms: float) -> tuple[float, float]:
        """The lowest and the highest factor: nineteen in twenty networks are above the one, as many below the other.

        They are 1 where the anchor takes as long as at this pace, and lie the wider apart the farther it is from that.
        No network is taken to go against the anchor, so that more may be within a bound.
        """
        exponent, off = float(self._exponent_now(now_ms, anchor_now_ms)), _SURE * self.scatter
        ends = [(self.anchor_ms / anchor_now_ms) ** end for end in (max(0.0, exponent - off), exponent + off)]
        return min(ends), max(ends)

    def _exponent_now(self, now_ms: float | FloatArray, anchor_now_ms: float | FloatArray) -> FloatArray:
        """The exponent of a network by its time as it was measured, which is farther from a slower anchor's.

        Where the machine is so much faster that different times would become one by the law, it is nearer to 1.
        """
        farther = np.maximum(1 + self.lag * (np.log(anchor_now_ms) - np.log(self.anchor_ms)), 0.1)
        return self._exponent((np.log(now_ms) - np.log(anchor_now_ms)) / farther)

    def _exponent(self, log_ratio: FloatArray) -> FloatArray:
        return np.asarray(np.clip(1 + self.lag * log_ratio, 0.0, 1.0))
