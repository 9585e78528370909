"""From runs to a report."""

from collections.abc import Sequence

from hat import __version__
from hat.report.architectures import architectures_section
from hat.report.data import data_section
from hat.report.document import Report, Section
from hat.report.evaluation import evaluation_section
from hat.report.latency import latency_section
from hat.report.overview import overview_section
from hat.report.predictor import predictor_section
from hat.report.runs import Run
from hat.report.search import search_section
from hat.report.training import training_section

_SECTIONS = (
    evaluation_section,
    search_section,
    architectures_section,
    predictor_section,
    latency_section,
    training_section,
    data_section,
)
"""Results first, then where they come from."""


def build_report(runs: Sequence[Run], title: str) -> Report:
    """Everything that these runs tell.

    Raises:
        DataError, ConfigError: naming the file, if one of theirs is damaged.
    """
    sections: list[Section] = [overview_section(runs)]
    sections += [section for make in _SECTIONS if (section := make(runs)) is not None]
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    return Report(title, f"{count} of hat, from data to trained networks", tuple(sections), f"hat-report {__version__}")
