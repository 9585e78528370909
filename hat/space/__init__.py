"""What may vary: search spaces, architectures, their encodings and their cost in closed form. No torch."""

from hat.space.architecture import Architecture, DecoderLayerSpec, DecoderSpec, EncoderLayerSpec, EncoderSpec
from hat.space.search_space import SearchSpace

__all__ = ["Architecture", "DecoderLayerSpec", "DecoderSpec", "EncoderLayerSpec", "EncoderSpec", "SearchSpace"]
