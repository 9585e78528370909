"""Ids of the special tokens, at the front of every vocabulary, as fairseq numbers them."""

BOS_ID = 0
PAD_ID = 1
EOS_ID = 2
UNK_ID = 3
