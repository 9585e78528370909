"""Search algorithms; they see architectures, scores and latencies, never a model."""

from hat.search.evolution import Candidate, EvolutionConfig, Generation, evolutionary_search, pareto_front

__all__ = ["Candidate", "EvolutionConfig", "Generation", "evolutionary_search", "pareto_front"]
