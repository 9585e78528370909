"""From a model to text: batched incremental beam search."""

from hat.decoding.beam import BeamOptions, Hypothesis, beam_search, search_encoded

__all__ = ["BeamOptions", "Hypothesis", "beam_search", "search_encoded"]
