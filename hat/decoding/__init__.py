"""From a model to text: batched incremental beam search."""

from hat.decoding.beam import BeamOptions, DecodingNetwork, Hypothesis, beam_search, search_encoded
from hat.decoding.translator import Translation, Translator

__all__ = ["BeamOptions", "DecodingNetwork", "Hypothesis", "Translation", "Translator", "beam_search", "search_encoded"]
