"""The beginning of a report: the numbers to be seen first, and all its runs."""

from collections.abc import Sequence

from hat.report.document import Section, Table, Tile, Tiles
from hat.report.evaluation_run import Evaluation
from hat.report.latency_run import LatencyData
from hat.report.predictor_run import PredictorRun
from hat.report.records import number
from hat.report.runs import Run
from hat.report.search_run import SearchRun
from hat.report.wording import LATENCIES, STATISTICS, decimal, duration, milliseconds, moment, percent, printable, whole

_WHAT = {
    "data": "data",
    "super": "SuperTransformer",
    "sub": "SubTransformer",
    "latency": "latency data set",
    "predictor": "latency predictor",
    "search": "search",
    "evaluation": "evaluation",
}


def overview_section(
    runs: Sequence[Run],
    searches: Sequence[SearchRun],
    evaluations: Sequence[Evaluation],
    predictors: Sequence[PredictorRun],
    latencies: Sequence[tuple[Run, LatencyData | None]],
) -> Section:
    """What the report is about."""
    tiles = (*_found(searches), *_quality(evaluations), *_predictors(predictors), *_latencies(latencies))
    table = Table(_COLUMNS, tuple(map(_row, runs)), text_columns=len(_COLUMNS))
    return Section("At a glance", (Tiles(tiles), table) if tiles else (table,))


_COLUMNS = ("run", "what", "state", "started", "took", "machine", "commit", "seed")


def _row(run: Run) -> tuple[str, ...]:
    info = run.info
    return (
        run.name,
        _WHAT[run.kind],
        "finished" if run.finished else "not finished",
        moment(info.get("started")),
        duration(number(info, "seconds", f"{run.path}/run.json")),
        printable(info.get("machine")),
        printable(info.get("commit")),
        printable(info.get("seed")),
    )


def _found(searches: Sequence[SearchRun]) -> list[Tile]:
    tiles = []
    for search in searches:
        found = search.found
        if found is None:
            continue
        measured_ms, predicted_ms = found.number("measured_ms"), found.number("predicted_ms")
        shown = predicted_ms if measured_ms is None else measured_ms
        how = "predicted only" if measured_ms is None else "measured"
        how += "" if found.statistic == "mean" else f", {STATISTICS[found.statistic]}"
        tiles.append(
            Tile(
                f"{search.run.name}, {found.limit or 'no limit'}",
                f"{milliseconds(shown)} ms",
                f"{how}, loss {decimal(found.number('validation_loss'), 4)}, {found.architecture}",
            )
        )
    return tiles


def _quality(evaluations: Sequence[Evaluation]) -> list[Tile]:
    """The best model on every test set."""
    tiles = []
    scored = [(bleu, one) for one in evaluations if (bleu := one.bleu("tokenized")) is not None]
    for test_set in dict.fromkeys(one.test_set for _, one in scored):
        scores = [(bleu, one) for bleu, one in scored if one.test_set == test_set]
        best, model = max(scores, key=lambda pair: pair[0])
        tiles.append(Tile(f"best BLEU, {test_set}", decimal(best), f"tokenised, {model.name}"))
    return tiles


def _predictors(predictors: Sequence[PredictorRun]) -> list[Tile]:
    tiles = []
    for trained in predictors:
        error = trained.tested("mape_percent")
        if error is not None:
            latency = LATENCIES[trained.predictor.statistic]
            note = f"mean error of the predicted {latency}, {whole(trained.tested('rows'))} test rows"
            tiles.append(Tile(trained.run.name, percent(error), note))
    return tiles


def _latencies(latencies: Sequence[tuple[Run, LatencyData | None]]) -> list[Tile]:
    tiles = []
    for run, latency in latencies:
        if latency is None:
            continue
        noise = "" if latency.findings is None else f", noise {percent(latency.findings.noise_percent)}"
        values = latency.data.latency_ms()
        spread = f"{milliseconds(float(values.min()))} to {milliseconds(float(values.max()))} ms"
        tiles.append(Tile(run.name, f"{len(values):,} rows", spread + noise))
    return tiles
