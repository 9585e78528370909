"""From a model to text: batched incremental beam search."""

from hat.decoding.beam import BeamOptions, DecodingNetwork, Hypothesis, beam_search, search_encoded

__all__ = ["BeamOptions", "DecodingNetwork", "Hypothesis", "beam_search", "search_encoded"]
