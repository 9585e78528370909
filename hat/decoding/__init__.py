"""From a model to text: batched incremental beam search."""

from hat.decoding.beam import BeamOptions, Hypothesis, beam_search, search_encoded
from hat.decoding.translator import Translation, Translator

__all__ = ["BeamOptions", "Hypothesis", "Translation", "Translator", "beam_search", "search_encoded"]
