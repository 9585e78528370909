"""How good a translation is: functions of lists of strings, no model."""

from hat.metrics.bleu import compound_split_bleu, sacre_bleu, split_compounds, tokenized_bleu

__all__ = ["compound_split_bleu", "sacre_bleu", "split_compounds", "tokenized_bleu"]
