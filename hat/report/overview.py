"""The beginning of a report: the numbers to be seen first, and all its runs."""

from collections.abc import Sequence

from hat.artifacts import read_json
from hat.report.document import Section, Table, Tile, Tiles
from hat.report.evaluation import read_evaluations
from hat.report.latency import read_latency
from hat.report.predictor import METRICS_FILE
from hat.report.records import number, section
from hat.report.runs import Run, of_kind
from hat.report.search import read_found
from hat.report.wording import decimal, duration, milliseconds, moment, percent, printable, whole

_WHAT = {
    "data": "data",
    "super": "SuperTransformer",
    "sub": "SubTransformer",
    "latency": "latency data set",
    "predictor": "latency predictor",
    "search": "search",
    "evaluation": "evaluation",
}


def overview_section(runs: Sequence[Run]) -> Section:
    """What the report is about."""
    tiles = tuple(tile for make in (_found, _quality, _predictors, _latencies) for tile in make(runs))
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


def _found(runs: Sequence[Run]) -> list[Tile]:
    tiles = []
    for run in of_kind(runs, "search"):
        found = read_found(run)
        if found is None:
            continue
        measured_ms, predicted_ms = found.number("measured_ms"), found.number("predicted_ms")
        shown = predicted_ms if measured_ms is None else measured_ms
        how = "predicted only" if measured_ms is None else "measured"
        tiles.append(
            Tile(
                f"{run.name}, limit {milliseconds(found.number('limit_ms'))} ms",
                f"{milliseconds(shown)} ms",
                f"{how}, loss {decimal(found.number('validation_loss'), 4)}, {found.architecture}",
            )
        )
    return tiles


def _quality(runs: Sequence[Run]) -> list[Tile]:
    """The best model on every test set."""
    tiles = []
    evaluations = [(bleu, one) for one in read_evaluations(runs) if (bleu := one.bleu("tokenized")) is not None]
    for test_set in dict.fromkeys(one.test_set for _, one in evaluations):
        scores = [(bleu, one) for bleu, one in evaluations if one.test_set == test_set]
        best, model = max(scores, key=lambda pair: pair[0])
        tiles.append(Tile(f"best BLEU, {test_set}", decimal(best), f"tokenised, {model.name}"))
    return tiles


def _predictors(runs: Sequence[Run]) -> list[Tile]:
    tiles = []
    for run in of_kind(runs, "predictor"):
        path = run.path / METRICS_FILE
        if not path.exists():
            continue
        test = section(read_json(path, "a predictor's metrics"), "test", path)
        error, rows = number(test, "mape_percent", path), number(test, "rows", path)
        if error is not None:
            note = f"mean error of the predicted latency, {whole(rows)} test rows"
            tiles.append(Tile(run.name, percent(error), note))
    return tiles


def _latencies(runs: Sequence[Run]) -> list[Tile]:
    tiles = []
    for run in of_kind(runs, "latency"):
        latency = read_latency(run)
        if latency is None:
            continue
        noise = "" if latency.findings is None else f", noise {percent(latency.findings.noise_percent)}"
        values = latency.data.latency_ms()
        spread = f"{milliseconds(float(values.min()))} to {milliseconds(float(values.max()))} ms"
        tiles.append(Tile(run.name, f"{len(values):,} rows", spread + noise))
    return tiles
