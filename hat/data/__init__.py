"""Parallel text: vocabularies, tokenisers, memory-mapped storage and batches."""
