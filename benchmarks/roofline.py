"""The least time that work takes on a machine of known bandwidth and known rate of products. No torch.

A phase of work reads its weights once from where they lie, and multiplies them with some rows of activations. It takes
at least the longer of the two: bytes over the bandwidth at which a block of as many is read, and operations over
the rate of large products. Decoding is one phase of the encoder and one for each step; attention over sentences,
softmax, LayerNorm, caches and the search are left out, so the limit is below what can be reached. It counts the weights
of cross-attention's projections, which hat multiplies into a single short sentence once, and then does not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.cases import Case, Shape
from hat import Architecture
from hat.space.counting import count_multiply_adds

BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
"""Of a weight."""


@dataclass(frozen=True)
class Phase:
    """Work between two of which everything must have been read again."""

    weights: int
    """Weights that are read, each once."""
    multiply_adds: int
    times: int = 1

    def seconds(self, bytes_per_weight: int, bytes_per_second: float, multiply_adds_per_second: float) -> float:
        """The least time of all ``times``."""
        reading = self.weights * bytes_per_weight / bytes_per_second
        return self.times * max(reading, self.multiply_adds / multiply_adds_per_second)


def decoding_phases(case: Case) -> list[Phase]:
    """The encoder with the decoder's projections of its output, and the decoder's steps."""
    shape, sentences = case.shape, case.sentences
    scored = min(case.shortlist or shape.vocabulary, shape.vocabulary)
    once, each = _weights_once(shape), _weights_each_step(replace(shape, vocabulary=scored))
    # A decoder layer projects the outputs of all encoder layers that it attends.
    projected = shape.decoder_layers * 2 * shape.width * (shape.qkv or shape.width) * (shape.attended - 1)
    source_rows, target_rows = sentences * case.length, sentences * case.beam
    return [
        Phase(once, source_rows * (once + projected)),
        Phase(each, target_rows * each, times=case.length),
    ]


def _weights_once(shape: Shape) -> int:
    """Of the encoder's layers, and of what makes keys and values of its output."""
    qkv = shape.qkv or shape.width
    encoder_layer = 4 * shape.width * qkv + 2 * shape.width * shape.ffn
    return shape.encoder_layers * encoder_layer + shape.decoder_layers * 2 * shape.width * qkv


def _weights_each_step(shape: Shape) -> int:
    """Of the decoder's layers and the output projection."""
    qkv = shape.qkv or shape.width
    decoder_layer = 4 * shape.width * qkv + 2 * shape.width * qkv + 2 * shape.width * shape.ffn
    return shape.decoder_layers * decoder_layer + shape.vocabulary * shape.width


def training_multiply_adds(case: Case, active: Architecture) -> int:
    """Of one step: the forward pass, and twice as many for the gradients of activations and of weights."""
    pair = count_multiply_adds(active, case.length, case.length, case.shape.vocabulary).total
    return 3 * case.sentences * pair


def scoring_multiply_adds(case: Case, active: Architecture, lengths: Sequence[tuple[int, int]]) -> int:
    """Of the forward passes over all sentences, without padding."""
    return sum(count_multiply_adds(active, source, target, case.shape.vocabulary).total for source, target in lengths)
