"""Measure the latency of many SubTransformers on this machine, or of a few given ones."""

import json
import logging
import math
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hat.artifacts import RunFolder, alone_in, read_record
from hat.config import Section, Seed, first_difference, load_config, shorten
from hat.errors import ConfigError
from hat.latency.choosing import choose_informative
from hat.latency.device import begin_session, describe, end_session
from hat.latency.measure import AnchoredTimer, measure, random_model, time_runs
from hat.latency.measurements import MEASUREMENTS_FILE, Measurement, MeasurementFile
from hat.latency.settings import DEVICE_FILE, DEVICE_FORMAT, DeviceRecord, LatencySettings
from hat.recipes.latency_rows import Filling, Time, measured_rows, short
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_parameters

logger = logging.getLogger(__name__)

_ANCHOR_DRAWS = 101  # of these, one of middle size is the anchor: large ones cost time, extremes are unlike the rest
_RESTLESS = 2  # times as large as wanted, the standard errors of latencies are worth a warning


class MeasureLatencyConfig(Section):
    """Settings of ``hat-measure-latency``."""

    output: Path
    """Folder of ``latency.csv`` and ``device.json``, and of all runs one by one (``measurements.jsonl``)."""
    space: SearchSpace
    """The search space to draw from, or the path of its YAML file; it may be wider than the one to search."""
    samples: int = Field(default=125, gt=0)
    """How many different architectures: the smallest, the largest, and random ones. It may be raised later."""
    seed: Seed = 1
    """Decides which architectures are drawn."""
    choose: Literal["random", "informative"] = "random"
    """How: uniformly, or of many drawn those that tell the most about what the parts of a network cost."""
    anchor: Literal["auto", "none"] | Path = "auto"
    """File of the architecture that is timed in turn with every sample, so that changes of the machine's pace can be
    taken out; ``auto`` draws one of middle size with ``seed``. ``none`` times nothing in turn, for comparison: it takes
    half the time, and whatever happens to the machine's pace is in the latencies."""
    passes: int = Field(default=3, gt=0, le=100)
    """How often all architectures are gone through, each time for a part of their runs, which count together: what
    disturbs the machine for some minutes then reaches a part of the runs of all, and not all runs of some."""
    settings: LatencySettings
    """What is timed."""


def measure_latency(
    config: MeasureLatencyConfig, restart: bool = False, architecture: Sequence[Path] | None = None
) -> Path | str:
    """Measure as ``config`` says and return the path of the CSV; a run that was interrupted goes on.

    Args:
        config: the settings.
        restart: begin anew even if the output folder holds measurements.
        architecture: measure these architecture files instead, write nothing and return JSON.

    Raises:
        ConfigError: if settings or machine differ from those of the run to continue, or cannot be.
        KeyboardInterrupt: on Ctrl-C; the rows measured so far are kept.
    """
    if architecture:
        return _measure_files(architecture, describe(config.settings))
    anchor = _anchor(config)
    device = describe(config.settings, anchor)
    architectures = draw_architectures(config.space, config.samples, config.seed, config.choose)
    # Now: settings that cannot be leave nothing behind.
    measure_one = _measuring(anchor, of_a_pass(device.settings, config.passes))
    run = RunFolder(config.output, config, "hat-measure-latency")
    with alone_in(config.output):
        return _measure_all(config, restart, architectures, measure_one, device, run)


def of_a_pass(settings: LatencySettings, passes: int) -> LatencySettings:
    """Settings of one of several passes: its part of the runs, known so much less well.

    Independent errors of n passes are the square root of n times smaller together.
    """
    error = settings.relative_error
    return settings.model_copy(
        update={
            "runs": math.ceil(settings.runs / passes),
            "least_runs": math.ceil(settings.least_runs / passes),
            "relative_error": None if error is None else error * math.sqrt(passes),
        }
    )


def draw_architectures(space: SearchSpace, samples: int, seed: int, choose: str = "random") -> list[Architecture]:
    """Different members of ``space``: the smallest, the largest, then random ones, or of those the informative.

    A larger number of samples goes on where a smaller one ended.

    Raises:
        ConfigError: if the space does not hold so many, or all but never gives them.
    """
    if samples > space.size():
        raise ConfigError(f"samples: must be at most {space.size()}, as many as the space holds, is {samples}.")
    if choose == "informative":
        return choose_informative(space, samples, seed)
    rng = random.Random(seed)
    drawn = dict.fromkeys([space.smallest(), space.largest()])  # keeps the order
    for _ in range(1000 + 100 * samples):
        if len(drawn) >= samples:
            break
        drawn[space.sample(rng)] = None
    if len(drawn) >= samples:
        return list(drawn)[:samples]
    raise ConfigError(
        f"samples: this space gives only {len(drawn)} different architectures in reasonable time, not {samples}; set "
        f"samples: {len(drawn)}."
    )


def _anchor(config: MeasureLatencyConfig) -> Architecture | None:
    """What is timed in turn with every sample; None where nothing is."""
    if config.anchor == "none":
        return None
    if isinstance(config.anchor, Path):
        return Architecture.from_json(config.anchor)
    rng = random.Random(config.seed)
    drawn = [config.space.sample(rng) for _ in range(_ANCHOR_DRAWS)]
    # A decoder's weights are read at every step, an encoder's once: the decoder decides how long a call takes.
    return sorted(drawn, key=lambda one: count_parameters(one).decoder)[_ANCHOR_DRAWS // 2]


def _measuring(anchor: Architecture | None, settings: LatencySettings) -> Time:
    """How an architecture is measured in a pass. Raises ConfigError where that cannot be."""
    if anchor is None:

        def measure_alone(architecture: Architecture, number: int) -> Measurement:
            runs = time_runs(random_model(architecture, settings), settings)
            return Measurement.now(architecture, number, runs, None)

        return measure_alone
    timer = AnchoredTimer(anchor, settings)

    def measure_beside_anchor(architecture: Architecture, number: int) -> Measurement:
        timed = timer.time(random_model(architecture, settings))
        return Measurement.now(architecture, number, timed.runs, timed.ratios)

    return measure_beside_anchor


def _measure_files(paths: Sequence[Path], device: DeviceRecord) -> str:
    """Latencies of given architectures as JSON: an object for one, a list for several."""
    architectures = [Architecture.from_json(path) for path in paths]  # all are read before the first is measured
    results: list[dict[str, Any]] = []
    for path, architecture in zip(paths, architectures, strict=True):
        sample = measure(random_model(architecture, device.settings), device.settings)
        logger.info("%s | %s | %s", path, architecture, short(sample))
        results.append({"architecture": str(path), **sample.to_dict(), "device": device.model_dump(mode="json")})
    return json.dumps(results[0] if len(results) == 1 else results, indent=2)


def _measure_all(
    config: MeasureLatencyConfig,
    restart: bool,
    architectures: Sequence[Architecture],
    measure_one: Time,
    device: DeviceRecord,
    run: RunFolder,
) -> Path:
    """Measure what the folder does not hold yet; returns the path of the CSV."""
    path, file = config.output / "latency.csv", _open_file(config.output, restart)
    before = _check_same(config, device) if file.all else None
    if any(one.architecture not in config.space for one in file.all):
        raise ConfigError(f"{file.path}: holds other architectures than this space gives; use --restart.")
    if before is not None and path.is_file() and _is_complete(config, file, architectures):
        logger.info("%s: holds all %d architectures; nothing is to be measured", path, len(architectures))
        return path
    run.announce()
    if before is None:
        run.forget()
    device = begin_session(device, before)
    for line in device.lines():
        logger.info("%s", line)
    device.write(config.output / DEVICE_FILE)
    started = time.monotonic()
    filling = Filling(
        path,
        file,
        measure_one,
        device.anchor is not None,
        lambda architecture, error: run.log(event="failed", architecture=architecture.to_dict(), error=error),
    )
    try:
        filling.fill(architectures, config.passes, device.settings.anchor_tolerance)
    finally:
        end_session(device).write(config.output / DEVICE_FILE)
    collected, failed = filling.collected, len(filling.collected.failed)
    if failed:
        told = "%d of %d architectures could not be measured; metrics.jsonl names them"
        logger.warning(told, failed, len(architectures))
    if collected.retaken or collected.off:
        logger.info("%d measured anew, %d still at another pace than the rest", collected.retaken, collected.off)
    rows = measured_rows(file.all)
    error = _tell_error([row.timed.relative_error for row in rows], device.settings)
    counts = {
        "rows": len(rows), "measured": len(collected.measured), "failed": failed,
        "retaken": collected.retaken, "off_pace": collected.off, "median_relative_error": error,
    }  # fmt: skip
    run.log(event="final", **counts)
    names = [{"architecture": str(one), "error": error} for one, error in collected.failed.items()]
    run.finish(**{**counts, "failed": names}, measuring_seconds=round(time.monotonic() - started, 1))
    return path


def _open_file(output: Path, restart: bool) -> MeasurementFile:
    """All that was measured for this folder; nothing of it when measuring is to begin anew.

    Raises:
        ConfigError: if the folder holds a CSV that was not made of such measurements.
    """
    path, csv = output / MEASUREMENTS_FILE, output / "latency.csv"
    if restart:
        for old in (csv, path):  # in this order: a CSV alone would be refused
            if old.is_file():
                old.unlink()
    file = MeasurementFile(path)
    if csv.exists() and not file.all:
        raise ConfigError(
            f"{output}: holds latency.csv, but not {MEASUREMENTS_FILE}, of which it is made (an earlier version's?); "
            "choose another output folder, or begin anew with --restart."
        )
    return file


def _is_complete(config: MeasureLatencyConfig, file: MeasurementFile, architectures: Sequence[Architecture]) -> bool:
    """Whether measuring came to its end before, and all of these were measured in every pass."""
    done = {(one.architecture, one.number) for one in file.all}
    every = {(architecture, number + 1) for architecture in architectures for number in range(config.passes)}
    return "rows" in read_record(config.output) and every <= done


def _tell_error(errors: Sequence[float | None], settings: LatencySettings) -> float | None:
    """The median of the latencies' standard errors; warns where it is far above what was asked for."""
    known = [error for error in errors if error is not None]
    if not known:
        return None
    error = statistics.median(known)
    logger.info("half of the latencies are known to %.1f %% or better", 100 * error)
    if settings.relative_error is not None and error > _RESTLESS * settings.relative_error:
        logger.warning(
            "this machine is restless: %d runs were too few to know most latencies to %.1f %% "
            "(settings.relative_error); measure while nothing else runs, or raise settings.runs", settings.runs,
            100 * settings.relative_error,
        )  # fmt: skip
    return round(error, 5)


def _check_same(config: MeasureLatencyConfig, device: DeviceRecord) -> DeviceRecord:
    """Refuse to add to what was measured otherwise; returns the record of how it was measured.

    Raises:
        ConfigError: naming the first difference.
    """
    where = config.output
    if not (where / "config.yaml").exists() or not (where / DEVICE_FILE).exists():
        raise ConfigError(
            f"{where}: holds {MEASUREMENTS_FILE}, but not config.yaml and {DEVICE_FILE}, which say how it was made; "
            "choose another output folder, or begin anew with --restart."
        )
    device_before = DeviceRecord.read(where / DEVICE_FILE)
    if device_before.format != DEVICE_FORMAT:
        raise ConfigError(
            f"{where}: was measured by an earlier version, which decoded otherwise; choose another output folder, or "
            "begin anew with --restart."
        )
    if (device_before.anchor is None) != (device.anchor is None):
        without = "without" if device_before.anchor is None else "with"
        raise ConfigError(
            f"{where}: was measured {without} an anchor; set anchor as it was, choose another output folder, or begin "
            "anew with --restart."
        )
    before = load_config(MeasureLatencyConfig, where / "config.yaml")  # what is new since then has its default
    # The anchor is compared as it is in the device record, wherever its file lies now.
    settings = before.model_dump(mode="json"), config.model_dump(mode="json")
    different = first_difference(*settings, leave_out=("output", "samples", "anchor"))
    different = different or device_before.difference(device)
    if different is not None:
        key, then, now = different
        raise ConfigError(
            f"{where}: was measured with {key} {shorten(then)}, now it is {shorten(now)}; go on with the same, choose "
            "another output folder, or begin anew with --restart."
        )
    return device_before
