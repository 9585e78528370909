"""Search algorithms; they see architectures, scores and latencies, never a model."""
