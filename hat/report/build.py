"""From runs to a report."""

from collections.abc import Sequence

from hat import __version__
from hat.report.architectures import architectures_section
from hat.report.data import data_section
from hat.report.document import Report
from hat.report.evaluation import evaluation_section
from hat.report.evaluation_run import read_evaluations
from hat.report.latency import latency_section
from hat.report.latency_run import read_latencies
from hat.report.overview import overview_section
from hat.report.predictor import predictor_section
from hat.report.predictor_run import read_predictors
from hat.report.runs import Run
from hat.report.search import search_section
from hat.report.search_run import read_searches
from hat.report.training import training_section


def build_report(runs: Sequence[Run], title: str) -> Report:
    """Everything that these runs tell: results first, then where they come from.

    Raises:
        DataError, ConfigError: naming the file, if one of theirs is damaged.
    """
    searches, predictors, latencies = read_searches(runs), read_predictors(runs), read_latencies(runs)
    evaluations = read_evaluations(runs, searches, predictors)
    sections = (
        overview_section(runs, searches, evaluations, predictors, latencies),
        evaluation_section(runs, evaluations, searches),
        search_section(searches),
        architectures_section(runs, searches),
        predictor_section(predictors),
        latency_section(latencies),
        training_section(runs),
        data_section(runs),
    )
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    return Report(
        title,
        f"{count} of hat, from data to trained networks",
        tuple(section for section in sections if section is not None),
        f"hat-report {__version__}",
    )
