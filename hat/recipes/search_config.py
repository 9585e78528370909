"""The settings of ``hat-search``."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from hat.config import Section, Seed, Threads
from hat.recipes.search_limits import Bound, LimitsConfig
from hat.search import EvolutionConfig, ScoringConfig


class SearchConfig(Section):
    """Settings of ``hat-search``."""

    output: Path
    """Folder for what is found."""
    supertransformer: Path
    """Folder of the trained SuperTransformer."""
    predictor: Path
    """Folder of the latency predictor."""
    data: Path
    """A folder that hat-prepare made; its validation split gives the scores."""
    split: str = "valid"
    """Name of that split."""
    latency_limit_ms: float = Field(gt=0)
    """Highest latency of the SubTransformer. No default: it is the question being asked."""
    limits: LimitsConfig = LimitsConfig()
    """What else must hold: parameters, multiply-adds, size, latency on further devices."""
    algorithm: Literal["evolution", "random", "nsga2"] = "evolution"
    """``evolution``: the paper's; ``random``: as many random candidates; ``nsga2``: one run looks for the best network
    at every latency, so that ``pareto.json`` answers every later limit (``--from``). It needs the extra ``search``."""
    evolution: EvolutionConfig = EvolutionConfig()
    """Sizes of the search, whichever algorithm."""
    scoring: ScoringConfig = ScoringConfig()
    """On how many sentences candidates are scored."""
    scores: Path | None = None
    """File that keeps every score; null keeps them in the output folder. A search that was interrupted then soon is
    where it was; searches under other limits can share one file. Scores that would differ now stay in it, unused."""
    seed: Seed = 1
    """Decides every random choice of the search."""
    max_tokens: int = Field(default=8192, gt=0)
    """Tokens of a validation batch, padding included."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Of the validation loss."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the matrix products of the scoring."""
    device: str = "auto"
    """Where candidates are scored: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: Threads | None = None
    """CPU threads of the scoring, of each process; null leaves torch's choice."""
    measure: bool = True
    """Measure the best candidates and return the best one that keeps the limit. With false, or a predictor of another
    machine than this one, the result is predicted only."""
    measured_candidates: int = Field(default=20, gt=0)
    """How many candidates are measured at most before the search gives up. Each takes 8 to 33 looks, more the nearer
    it is to the limit. A look warms up and times an eighth of ``settings.runs`` of the latency data set, nine runs at
    least (30 with ``statistic: p90``), and as many of the anchor beside them: on a device that takes seconds a call, a
    candidate takes tens of minutes."""
    predicted_limit: Bound = "upper"
    """What of a latency that is predicted only must keep its limit: the upper end of the interval that nine in ten
    measurements fall into (``upper``), or the prediction itself (``expected``). What is measured is known better."""
