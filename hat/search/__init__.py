"""Search algorithms; they see architectures, scores and latencies, never a model."""

from hat.search.candidate import Candidate, Generation, Limit, Task, pareto_front
from hat.search.evolution import EvolutionConfig, evolutionary_search
from hat.search.nsga2 import nsga2_search
from hat.search.random_search import random_search
from hat.search.scoreboard import Estimate, Scoreboard, ScoringConfig

ALGORITHMS = {"evolution": evolutionary_search, "random": random_search, "nsga2": nsga2_search}
"""By the names they have in settings. All have the same arguments."""

__all__ = [
    "ALGORITHMS",
    "Candidate",
    "Estimate",
    "EvolutionConfig",
    "Generation",
    "Limit",
    "Scoreboard",
    "ScoringConfig",
    "Task",
    "evolutionary_search",
    "nsga2_search",
    "pareto_front",
    "random_search",
]
