"""How well latency is predicted on the six public sets of HAT (arXiv:2005.14187), as Markdown tables.

    python scripts/public_latency.py FOLDER_OF_THE_CSVS > tables.md
    python scripts/public_latency.py FOLDER_OF_THE_CSVS --tables networks     # three quarters of an hour

Without a folder, $HAT_SHARED/reference/latency is taken. The protocol is that of hat-train-predictor: a permutation of
all rows by the seed, its last tenth is the test part; errors are means over five seeds and of all test rows.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from running import run_experiment

from hat.latency.accuracy import Accuracy
from hat.latency.choosing import InformativeChoice
from hat.latency.cost_model import CostModel, CostModelOptions, adapt_cost_model, fit_cost_model
from hat.latency.cross_validation import conformal_bound, cross_validated_errors
from hat.latency.dataset import IntArray, LatencyDataset
from hat.latency.fitting import FITTERS, MLPOptions, fit_mlp
from hat.latency.lint import check_latencies
from hat.latency.mlp import MLP
from hat.latency.rows import Rows

SEEDS = range(11, 16)
TRAIN_ROWS = 100
DEVICES = {
    "Raspberry Pi": ("wmt14ende_cpu_raspberrypi", "wmt14enfr_cpu_raspberrypi"),
    "Xeon": ("wmt14ende_cpu_xeon",),
    "TITAN Xp": ("wmt14ende_gpu_titanxp", "wmt19ende_gpu_titanxp", "iwslt14deen_gpu_titanxp"),
}
NAMES = tuple(name for names in DEVICES.values() for name in names)
PAIRS = tuple((source, task) for names in DEVICES.values() for source in names for task in names if source != task)
CLEAN = "wmt14enfr_cpu_raspberrypi"
OPTIONS = {"structured": CostModelOptions(), "mlp": MLPOptions()}


def load(folder: Path, name: str) -> Rows:
    """All rows of one public set."""
    data = LatencyDataset.load(folder / f"{name}.csv")
    return Rows(data.features, data.latency_ms(), data.encoder_ms)


def calm(rows: Rows) -> Rows:
    """Those that the check does not flag."""
    flagged = check_latencies(rows.features, rows.latency_ms).flagged_rows()
    return rows.take(np.array([row for row in range(len(rows)) if row not in flagged]))


def split(rows: Rows, seed: int, train_rows: int | None = TRAIN_ROWS) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows, as :meth:`LatencyDataset.split` has them."""
    order, tenth = np.random.default_rng(seed).permutation(len(rows)), len(rows) // 10
    available = len(rows) - 2 * tenth
    train_rows = train_rows or available
    valid_rows = min(tenth, max(1, train_rows // 8))
    parts = order[:train_rows], order[available : available + valid_rows], order[len(rows) - tenth :]
    return rows.take(parts[0]), rows.take(parts[1]), rows.take(parts[2])


def mape(model: MLP | CostModel, test: Rows) -> float:
    """Mean absolute error relative to the measurement, percent."""
    return Accuracy.of(model.predict_ms(test.features), test.latency_ms).mape_percent


def few_rows(rows: Rows, seeds: Sequence[int] = SEEDS, kinds: Sequence[str] = ("structured", "mlp")) -> list[float]:
    """Error and share of the test rows in the interval, percent: of every kind, and of that which auto takes."""
    found = []
    for seed in seeds:
        train, valid, test = split(rows, seed)
        of_kinds, errors = {}, {}
        for kind in kinds:
            model = FITTERS[kind](train, valid, OPTIONS[kind], seed)
            errors[kind] = cross_validated_errors(kind, train, OPTIONS[kind], seed)
            bound = conformal_bound(errors[kind])
            assert bound is not None, "there are more than nine rows"
            inside = np.abs(test.latency_ms / model.predict_ms(test.features) - 1) <= bound
            of_kinds[kind] = (mape(model, test), 100 * float(inside.mean()))
        best = min(kinds, key=lambda kind: float(errors[kind].mean()))
        found.append([number for kind in kinds for number in of_kinds[kind]] + list(of_kinds[best]))
    return np.mean(found, axis=0).tolist()


def accuracy(sets: dict[str, Rows]) -> None:
    """100 training rows."""
    title(f"{TRAIN_ROWS} training rows: MAPE % (rows in the 90 % interval, %)")
    header("set", "structured", "mlp", "auto")
    for name, rows in sets.items():
        numbers = few_rows(rows)
        line(name, *(f"{numbers[i]:.2f} ({numbers[i + 1]:.0f})" for i in range(0, 6, 2)))


def fewer_rows(sets: dict[str, Rows]) -> None:
    """How the error of kind structured falls with the rows."""
    sizes = (15, 30, 50, 100, 200, 1600)
    title("Kind structured by the number of training rows: MAPE %")
    header("set", *map(str, sizes))
    for name, rows in sets.items():
        errors = []
        for size in sizes:
            parts = [split(rows, seed, size) for seed in SEEDS]
            errors.append(np.mean([mape(fit_cost_model(train, CostModelOptions()), test) for train, _, test in parts]))
        line(name, *(f"{error:.2f}" for error in errors))


def without_flagged(sets: dict[str, Rows]) -> None:
    """100 training rows of those that are not flagged; and the same costs fitted to all of them, the floor."""
    title(f"Without the rows that the check flags, {TRAIN_ROWS} training rows, kind structured")
    header("set", "flagged rows", "MAPE %", "in the 90 % interval, %", "MAPE % of a fit to all these rows")
    for name, rows in sets.items():
        left = calm(rows)
        error, inside, *_ = few_rows(left, kinds=("structured",))
        floor = mape(fit_cost_model(left, CostModelOptions()), left)
        line(name, len(rows) - len(left), f"{error:.2f}", f"{inside:.0f}", f"{floor:.2f}")


def adapted(source: CostModel, task: Rows, rows: int, seeds: Sequence[int]) -> float:
    """Error of costs adapted with a few rows drawn by each seed, tested on 200 others."""
    errors = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(task))
        model = adapt_cost_model(source, task.take(order[:rows]), CostModelOptions())
        errors.append(mape(model, task.take(order[-200:])))
    return float(np.mean(errors))


def transfer(sets: dict[str, Rows]) -> None:
    """Costs of another task on the same device, adapted."""
    title("Adapted with 5 rows of another task on the same device, without flagged rows: mean of 100 draws")
    header("from", "to", "MAPE %", "with 10 rows")
    left = {name: calm(rows) for name, rows in sets.items()}
    for source, task in (pair for pair in PAIRS if set(pair) <= set(sets)):
        costs = fit_cost_model(left[source], CostModelOptions())
        line(source, task, *(f"{adapted(costs, left[task], rows, range(101, 201)):.2f}" for rows in (5, 10)))


def shifted(rows: Rows, seed: int, length: int = 20, percent: float = 5) -> tuple[bool, int]:
    """Whether a shift put into ``rows`` is found, and how many others are found that nobody put there."""
    first = int(np.random.default_rng(seed).integers(0, len(rows) - length))
    latency_ms = rows.latency_ms.copy()
    latency_ms[first : first + length] *= 1 + percent / 100
    runs = check_latencies(rows.features, latency_ms).shifted
    hits = [run for run in runs if run.first_row < first + length and run.last_row >= first]
    return bool(hits), len(runs) - len(hits)


def check(sets: dict[str, Rows]) -> None:
    """What the check of the data sets finds, and shifts that were put into the clean one."""
    title("Shifted stretches that the check finds")
    header("set", "noise %", "first to last row (shift %)", "single rows")
    for name, rows in sets.items():
        findings = check_latencies(rows.features, rows.latency_ms)
        runs = ", ".join(f"{run.first_row}-{run.last_row} ({run.shift_percent:+.0f})" for run in findings.shifted)
        line(name, findings.noise_percent, runs or "none", len(findings.outliers))
    if CLEAN not in sets:
        return
    trials = []
    for seed in range(100):
        first = 500 * (seed % 4)
        trials.append(shifted(sets[CLEAN].take(np.arange(first, first + 500)), seed))
    found, alarms = (sum(numbers) for numbers in zip(*trials, strict=True))
    print(f"\n20 rows of {CLEAN} (500 rows at a time) made 5 % slower: found in {found} of 100 trials; {alarms} other")
    print("stretches in these 50,000 rows.")


def choosing(sets: dict[str, Rows], draws: int = 20) -> None:
    """Training rows chosen at random, or by what they tell."""
    sizes = (30, 50, 100)
    title(f"Rows chosen at random / by what they tell, of 1,200: MAPE % on all others, mean of {draws} draws")
    header("set", *(f"{size} rows" for size in sizes))
    for name, rows in sets.items():
        line(
            name, *(" / ".join(f"{chosen(rows, size, how, draws):.2f}" for how in (at_random, by_d)) for size in sizes)
        )


def at_random(pool: Rows, number: int) -> list[int]:
    """The first, as the pool is in random order."""
    return list(range(number))


def by_d(pool: Rows, number: int) -> list[int]:
    """As ``choose: informative`` does."""
    return InformativeChoice(pool.features).pick(pool.features, number)


def chosen(rows: Rows, number: int, how: Callable[[Rows, int], list[int]], draws: int) -> float:
    """Error on all other rows, of costs fitted to rows that ``how`` takes from a pool drawn by each seed."""
    errors = []
    for seed in range(401, 401 + draws):
        order: IntArray = np.random.default_rng(seed).permutation(len(rows))
        taken = order[how(rows.take(order[:1200]), number)]
        model = fit_cost_model(rows.take(taken), CostModelOptions())
        errors.append(mape(model, rows.take(np.setdiff1d(order, taken))))
    return float(np.mean(errors))


def networks(sets: dict[str, Rows]) -> None:
    """The paper's network on 1,600 rows, by the authors' recipe and by ours with either loss."""
    title("The paper's network, 1,600 training rows: MAPE % (RMSE ms) on the test rows; on all, seen ones included")
    header("set", "authors' recipe", "kind mlp", "kind mlp, loss squared")
    for name, rows in sets.items():
        scale_ms = 5000 if "raspberrypi" in name else 200
        cells = []
        for recipe in (paper_recipe(scale_ms), MLPOptions(), MLPOptions(loss="squared")):
            found: dict[str, list[Accuracy]] = {"test": [], "all": []}
            for seed in SEEDS:
                train, valid, test = split(rows, seed, None)
                model = fit_mlp(train, valid, recipe, seed)
                for part, judged in (("test", test), ("all", rows)):
                    found[part].append(Accuracy.of(model.predict_ms(judged.features), judged.latency_ms))
            cells.append("; ".join(map(percent_and_ms, found.values())))
        line(name, *cells)


def percent_and_ms(accuracies: Sequence[Accuracy]) -> str:
    """Mean relative and root mean square error, each a mean over seeds."""
    percent, ms = (np.mean([getattr(one, key) for one in accuracies]) for key in ("mape_percent", "rmse_ms"))
    return f"{percent:.2f} ({ms:.4g})"


def paper_recipe(scale_ms: float) -> MLPOptions:
    """The authors' own run."""
    return MLPOptions(
        steps=5000, learning_rate=1e-5, schedule="constant", normalisation="paper", latency_scale_ms=scale_ms,
        loss="squared", early_stopping=False,
    )  # fmt: skip


def title(text: str) -> None:
    """A line above a table."""
    print(f"\n{text}\n")


def header(*names: str) -> None:
    """The first two lines of a table."""
    line(*names)
    print("|---" * len(names) + "|")


def line(*values: object) -> None:
    """One line of a table, shown at once."""
    print(f"| {' | '.join(map(str, values))} |", flush=True)


TABLES: dict[str, Callable[[dict[str, Rows]], None]] = {
    "check": check, "fewer_rows": fewer_rows, "without_flagged": without_flagged, "transfer": transfer,
    "choosing": choosing, "accuracy": accuracy, "networks": networks,
}  # fmt: skip


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HAT_SHARED")
    parser.add_argument("folder", type=Path, nargs="?", default=shared and Path(shared) / "reference" / "latency")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=[name for name in TABLES if name != "networks"])
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    if args.folder is None:
        parser.error("give the folder of the public sets, or set HAT_SHARED")
    sets = {name: load(args.folder, name) for name in args.sets}
    for name in args.tables:
        TABLES[name](sets)


if __name__ == "__main__":
    run_experiment("public_latency", main)
