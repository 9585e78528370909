"""From a model to text: batched incremental beam search."""
