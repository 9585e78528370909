"""hat-report: what the page says is what the files say, it needs nothing else, and damaged files are named."""

import html
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from run_folders import (
    SPACE,
    architectures,
    write_evaluation,
    write_everything,
    write_latency,
    write_predictor,
    write_run,
    write_search,
    write_sub,
    write_super,
)

from hat.artifacts import file_digest, read_json, write_json
from hat.cli.report import main
from hat.latency.dataset import LatencyDataset
from hat.latency.predictor import LatencyPredictor
from hat.recipes.report import HTML_FILE, MARKDOWN_FILE, PICTURES_FOLDER
from hat.report.runs import find_runs
from hat.report.search_run import read_searches
from hat.space import Architecture
from hat.space.counting import count_multiply_adds, count_parameters

TABLE = "row,measured_ms,predicted_ms,part\n"
STRANGE = json.dumps(SPACE.smallest().to_dict() | {"found": {"statistic": 3}})
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Tables as lists of rows, all texts, and whether every element ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: list[list[list[str]]] = []
        self.titles: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("h1", "h2", "h3"):
            self.titles.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.titles[-1] += data

    def table(self, *columns: str) -> dict[str, dict[str, str]]:
        """The only table that has these columns: first cell → column → cell."""
        (rows,) = [rows for rows in self.tables if set(columns) <= set(rows[0])]
        return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def make(runs: Path, output: Path) -> Page:
    assert main([str(runs), "--output", str(output)]) == 0
    return Page((output / HTML_FILE).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_everything(tmp_path_factory.mktemp("report") / "runs")


@pytest.fixture(scope="module")
def output(runs: Path) -> Path:
    folder = runs.parent / "report"
    make(runs, folder)
    return folder


@pytest.fixture(scope="module")
def page(output: Path) -> Page:
    return Page((output / HTML_FILE).read_text(encoding="utf-8"))


def number(text: str) -> float:
    return float(text.replace(",", "").removesuffix("%").removesuffix("±"))


def test_the_page_needs_nothing_else(output: Path, page: Page) -> None:
    text = (output / HTML_FILE).read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert not {"script", "link", "iframe", "img", "object", "embed", "form"} & set(page.tags)
    links = [value for name, value in page.attributes if name in ("href", "xlink:href", "src")]
    assert links and all(link is not None and link.startswith("#") for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.open == []


def test_every_anchor_is_there_once(page: Page) -> None:
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name in ("href", "xlink:href") and value}
    assert used <= set(ids)


def test_every_kind_of_run_has_its_part(page: Page) -> None:
    assert page.titles[1:] == [
        "At a glance", "Quality of the trained models", "Search", "search", "search_random", "Architectures",
        "Latency predictor", "predictor", "Latency on the device", "latency", "Training", "super", "scratch", "sub",
        "Data", "data",
    ]  # fmt: skip
    rows = page.table("run", "commit")
    assert len(rows) == 10 and {row["state"] for row in rows.values()} == {"finished"}
    expected = {"run": "super", "what": "SuperTransformer", "state": "finished", "started": "2026-11-27 09:05 UTC"}
    expected |= {"took": "1 min 16 s", "machine": "A machine (2 cores)", "commit": "0123456789ab", "seed": "1"}
    assert rows["super"] == expected


def test_what_was_found_is_what_the_file_says(runs: Path, page: Page) -> None:
    values = read_json(runs / "search" / "architecture.json", "an architecture")
    row = page.table("limit, ms", "measured, ms")["search"]
    shown = {"limit_ms": "limit, ms", "measured_ms": "measured, ms", "measured_upper_ms": "upper bound, ms"}
    shown |= {"predicted_ms": "predicted, ms"}
    for key, column in shown.items():
        assert number(row[column]) == round(values["found"][key], 2)
    assert (row["validation loss"], row["candidates scored"]) == ("3.1234", "77")
    architecture = Architecture.from_dict(values)
    assert row["found"] == str(architecture)
    sizes = page.table("parameters", "tokens in, out")["search"]
    counted = count_parameters(architecture, 100, 100)
    assert number(sizes["parameters"]) == counted.total
    assert number(sizes["without embeddings"]) == counted.without_embeddings
    operations = count_multiply_adds(architecture, 9, 11, 100).total
    assert number(sizes["multiply-adds, millions"]) == round(operations / 1e6, 1)
    assert sizes["tokens in, out"] == "9, 11"


def test_the_front_is_what_the_file_says(runs: Path, page: Page) -> None:
    front = json.loads((runs / "search" / "pareto.json").read_text())
    tables = [rows[1:] for rows in page.tables if rows[0] == ["network", "predicted, ms", "validation loss"]]
    expected = [
        [str(Architecture.from_dict(p["architecture"])), f"{p['predicted_ms']:.2f}", f"{p['validation_loss']:.4f}"]
        for p in front
    ]
    assert tables[0] == expected


def test_qualities_are_what_the_files_say_and_latencies_say_where_they_are_from(runs: Path, page: Page) -> None:
    rows = page.table("BLEU, tokenised", "latency, ms")
    found = {"test set": "demo test", "sentences": "500", "loss": "1.2345", "perplexity": "3.00"}
    found |= {"parameters": "1,234,567"}
    scores = {"model": "sub", "BLEU, tokenised": "38.75", "compounds split": "39.00", "sacreBLEU": "38.25"}
    assert rows["sub"] == {**found, **scores, "latency, ms": "6.12", "the latency is": "measured by the search"}
    scores = {"model": "scratch", "BLEU, tokenised": "36.50", "compounds split": "36.75", "sacreBLEU": "36.00"}
    assert rows["scratch"] == {**found, **scores, "latency, ms": "7.75", "the latency is": "measured with it"}
    assert "sacreBLEU: nrefs:1|case:mixed." in page.texts


def test_latencies_that_might_be_another_devices_are_left_out(tmp_path: Path) -> None:
    """With two predictors nothing says which one a model is for, nor which search, where several found its network."""
    runs, (found, other) = tmp_path / "runs", architectures(2, seed=3)
    write_predictor(runs / "predictor", write_latency(runs / "latency") / "latency.csv")
    write_search(runs / "search", found)
    for name, architecture in (("first", found), ("second", other)):
        write_sub(runs / name, architecture)
        write_evaluation(runs / name / "evaluation", runs / name, 30.0)

    def latencies() -> dict[str, tuple[str, str]]:
        rows = make(runs, tmp_path / "report").table("BLEU, tokenised", "latency, ms")
        return {name: (row["latency, ms"], row["the latency is"]) for name, row in rows.items()}

    predicted_ms = LatencyPredictor.load(runs / "predictor").predict_ms(other)
    assert latencies() == {"first": ("6.12", "measured by the search"), "second": (f"{predicted_ms:.2f}", "predicted")}
    write_predictor(runs / "pi", runs / "latency" / "latency.csv")
    assert latencies() == {"first": ("6.12", "measured by the search"), "second": ("–", "–")}
    write_search(runs / "again", found, seed=2)
    assert latencies()["first"] == ("6.12", "measured by the search")
    write_search(runs / "search_pi", found, predictor="runs/pi")
    assert latencies()["first"] == ("–", "–")
    write_search(runs / "third", found, seed=3)
    assert latencies()["first"] == ("–", "–")


def test_an_evaluation_of_an_earlier_model_is_not_taken_for_the_present_ones(tmp_path: Path) -> None:
    """As after training anew into the same folder: neither the network nor its latency are those that were scored."""
    runs, (found,) = tmp_path / "runs", architectures(1, seed=3)
    write_search(runs / "search", found)
    write_sub(runs / "sub", found)
    weights = runs / "sub" / "model.safetensors"
    weights.write_bytes(b"the first ones")
    for name in ("before", "now"):
        path = write_evaluation(runs / name, runs / "sub", 30.0) / "evaluation.json"
        write_json(path, read_json(path, "it") | {"digests": {"model": file_digest(weights)}})
        weights.write_bytes(b"others")
    path = runs / "now" / "evaluation.json"
    write_json(path, read_json(path, "it") | {"digests": {"model": file_digest(weights)}})
    rows = make(runs, tmp_path / "report").table("BLEU, tokenised", "latency, ms")
    assert {name: row["latency, ms"] for name, row in rows.items()} == {"sub, an earlier one": "–", "sub": "6.12"}


def test_limits_are_drawn_where_a_model_was_searched_for_them(tmp_path: Path) -> None:
    runs, (found, other) = tmp_path / "runs", architectures(2, seed=3)
    write_search(runs / "search", found)
    for name, architecture in (("first", found), ("second", other)):
        write_sub(runs / name, architecture)
    quality = tmp_path / "report" / PICTURES_FOLDER / "quality-1.svg"
    write_evaluation(runs / "second" / "evaluation", runs / "second", 30.0, 7.75)
    make(runs, tmp_path / "report")
    assert "limit 6.50" not in quality.read_text()
    write_evaluation(runs / "first" / "evaluation", runs / "first", 30.0, 7.75)
    make(runs, tmp_path / "report")
    assert "limit 6.50" in quality.read_text()


def test_the_predictor_is_what_its_files_say_and_its_test_rows_are_known(runs: Path, page: Page) -> None:
    metrics = read_json(runs / "predictor" / "metrics.json", "metrics")
    rows = {name: row["value"] for name, row in page.table("measure", "value").items()}
    assert number(rows["MAPE"]) == round(metrics["test"]["mape_percent"], 2)
    assert number(rows["RMSE, ms"]) == round(metrics["test"]["rmse_ms"], 2)
    assert number(rows["Kendall's tau"]) == round(metrics["test"]["kendall_tau"], 3)
    assert rows["predicts"] == "total latency, mean of the runs"
    assert (rows["test rows"], rows["training rows"], rows["kind"]) == ("4", str(metrics["train_rows"]), "structured")
    error = read_json(runs / "predictor" / "predictor.json", "predictor")["relative_error_90"]
    assert rows["90 % interval"] == f"± {100 * error:.1f} %"
    assert "test rows (4)" in page.texts and "other rows (36)" in page.texts and "9 in 10 lie here" in page.texts


def test_test_rows_stay_known_when_the_data_set_changes_or_goes(runs: Path, tmp_path: Path) -> None:
    for name in ("latency", "predictor"):
        shutil.copytree(runs / name, tmp_path / "runs" / name)
    predictor, dataset = tmp_path / "runs/predictor", tmp_path / "runs/latency/latency.csv"
    (predictor / "config.yaml").write_text("{dataset: runs/latency/latency.csv, seed: 2}")
    another = "Its data set is not what it was any more. "
    page = make(predictor, tmp_path / "report")
    assert "test rows (4)" in page.texts and not any(text.startswith(another) for text in page.texts)
    lines = dataset.read_text().splitlines(keepends=True)
    for content in (lines[:-1], [lines[0], *lines[:0:-1]], lines[:1]):
        dataset.write_text("".join(content))
        page = make(predictor, tmp_path / "report")
        assert "test rows (4)" in page.texts and "other rows (36)" in page.texts
        assert any(text.startswith(another) for text in page.texts)
    shutil.rmtree(tmp_path / "runs" / "latency")
    page = make(predictor, tmp_path / "report")
    assert "test rows (4)" in page.texts and not any(text.startswith(another) for text in page.texts)


def test_without_the_table_of_predictions_parts_are_not_told(runs: Path, tmp_path: Path) -> None:
    for name in ("latency", "predictor"):
        shutil.copytree(runs / name, tmp_path / "runs" / name)
    predictor = tmp_path / "runs/predictor"
    (predictor / "config.yaml").write_text("{dataset: runs/latency/latency.csv}")
    (predictor / "predictions.csv").unlink()
    page = make(predictor, tmp_path / "report")
    assert "rows (40)" in page.texts and not any(text.startswith("test rows (") for text in page.texts)
    assert "Which rows it was trained and tested on is not known: there is no predictions.csv." in page.texts
    assert "test rows within it" not in {row["measure"] for row in page.table("measure", "value").values()}
    shutil.rmtree(tmp_path / "runs" / "latency")
    page = make(predictor, tmp_path / "report")
    assert "No picture: its data set runs/latency/latency.csv is not there any more." in page.texts


def test_a_data_set_that_is_measured_on_does_not_end_the_report_of_its_predictor(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "predictor", tmp_path / "runs/predictor")
    write_latency(tmp_path / "runs/latency", finished=False)
    (tmp_path / "runs/predictor/config.yaml").write_text("{dataset: runs/latency/latency.csv}")
    page = make(tmp_path / "runs", tmp_path / "report")
    assert "test rows (4)" in page.texts and not any("any more" in text for text in page.texts)
    (tmp_path / "runs/predictor/predictions.csv").unlink()
    assert "rows (40)" in make(tmp_path / "runs", tmp_path / "report").texts


def test_rows_that_a_predictor_left_out_are_shown_and_named(tmp_path: Path) -> None:
    dataset = write_latency(tmp_path / "runs/latency") / "latency.csv"
    write_predictor(tmp_path / "runs/predictor", dataset, drop_flagged=True)
    page = make(tmp_path / "runs/predictor", tmp_path / "report")
    parts = [line.rpartition(",")[2] for line in (tmp_path / "runs/predictor/predictions.csv").read_text().split()]
    assert set(range(20, 30)) <= {row for row, part in enumerate(parts[1:]) if part == "flagged"}
    flagged, test = parts.count("flagged"), parts.count("test")
    assert f"left out as disturbed ({flagged})" in page.texts and f"test rows ({test})" in page.texts
    assert f"other rows ({40 - flagged - test})" in page.texts
    assert page.table("measure", "value")["left out as disturbed"]["value"] == str(flagged)
    (told,) = [text for text in page.texts if text.startswith("Left out of training, validation and test")]
    assert f"{flagged} of 40 rows, " in told and "20 to 29" in told
    assert not any("any more" in text for text in page.texts)


def test_a_predictor_adapted_with_few_rows_has_no_test(runs: Path, tmp_path: Path) -> None:
    dataset = write_latency(tmp_path / "runs/few", rows=6) / "latency.csv"
    write_predictor(tmp_path / "runs/adapted", dataset, adapt=str(runs / "predictor"))
    page = make(tmp_path / "runs/adapted", tmp_path / "report")
    assert "No rows were set aside for a test." in page.texts and "other rows (6)" in page.texts
    assert not any("any more" in text or "not known" in text for text in page.texts)
    assert "test rows within it" not in page.table("measure", "value")


def test_the_90th_percentile_is_called_so_and_stays_out_of_the_picture_of_means(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    found, other = architectures(2, seed=3)
    dataset = write_latency(runs / "latency") / "latency.csv"
    write_predictor(runs / "predictor", dataset, statistic="p90")
    write_search(runs / "slow", found, statistic="p90")
    for name, architecture in (("first", found), ("second", other)):
        write_sub(runs / name, architecture)
        write_evaluation(runs / name / "evaluation", runs / name, 30.0, 7.75 if name == "second" else None)
    page = make(runs, tmp_path / "report")
    expected = "total latency, 90th percentile of the runs"
    assert page.table("measure", "value")["predicts"]["value"] == expected
    assert {"measured p90 latency (ms)", "predicted p90 latency (ms)", "p90 latency (ms)"} <= set(page.texts)
    assert "predicted latency (ms)" not in page.texts
    assert page.table("limit, ms", "measured, ms")["slow"]["latency is the"] == "90th percentile"
    assert "slow, p90 limit 6.50 ms" in page.texts
    assert any(text.startswith("measured, 90th percentile, loss") for text in page.texts)
    rows = page.table("BLEU, tokenised", "latency, ms")
    assert {name: row["latency, ms"] for name, row in rows.items()} == {"first": "–", "second": "7.75"}
    quality = (tmp_path / "report" / PICTURES_FOLDER / "quality-1.svg").read_text()
    assert "limit 6.50" not in quality and ">second<" in quality and ">first<" not in quality

    write_search(runs / "usual", found, statistic="mean")
    page = make(runs, tmp_path / "report")
    assert {"latency or p90 latency (ms)", "slow (p90)", "usual (mean)"} <= set(page.texts)
    assert page.table("BLEU, tokenised", "latency, ms")["first"]["latency, ms"] == "6.12"
    assert "limit 6.50" in (tmp_path / "report" / PICTURES_FOLDER / "quality-1.svg").read_text()


def test_latencies_are_those_of_the_data_set_and_the_shift_is_found(runs: Path, page: Page) -> None:
    data = LatencyDataset.load(runs / "latency" / "latency.csv")
    total = page.table("fastest", "slowest")["whole translation"]
    latency_ms = data.latency_ms()
    for column, value in (
        ("fastest", latency_ms.min()),
        ("median", np.median(latency_ms)),
        ("mean", latency_ms.mean()),
    ):
        assert number(total[column]) == round(float(value), 2)
    shift = page.table("where", "longer than expected")["rows 20 to 29"]
    assert number(shift["longer than expected"]) == pytest.approx(50, abs=10)  # from 30 calm rows


def test_losses_are_those_of_the_metrics(page: Page) -> None:
    tables = [rows for rows in page.tables if rows[0] == ["validated", "loss", "nll", "perplexity"]]
    assert tables[0][1:] == [
        ["smallest", "4.4321", "2.0000", "7.39"],
        ["largest", "3.4321", "2.0000", "7.39"],
        ["random_0", "4.0000", "2.0000", "7.39"],
    ]
    rows = page.table("training", "validation loss")
    assert {name: row["validation loss"] for name, row in rows.items()} == {
        "super": "3.4321", "sub": "3.2500", "scratch": "3.5000"
    }  # fmt: skip
    assert rows["super"]["target tokens/s (median)"] == "1,500"
    split = {"split": "train", "sentences": "4,321", "source tokens": "98,765", "dropped: too long": "7"}
    assert page.table("split", "source tokens")["train"] == split


def test_several_searches_share_their_pictures(page: Page) -> None:
    assert page.texts.count("search_random (random)") == 2  # by generation, by candidates: a legend each
    assert "sentence evaluations" not in page.texts


def test_searches_that_count_sentences_are_compared_by_them(tmp_path: Path) -> None:
    first, second = architectures(2)
    write_search(tmp_path / "runs" / "few", first, sentences=100)
    write_search(tmp_path / "runs" / "all", second)
    page = make(tmp_path / "runs", tmp_path / "report")
    assert page.texts.count("few") > page.texts.count("all") and "sentence evaluations" in page.texts
    curves = [search.convergence for search in read_searches(find_runs([tmp_path / "runs" / "few"]))]
    assert [(curve.candidates, curve.sentences) for curve in curves if curve] == [
        ([20, 39, 57, 74], [100, 200, 300, 400])
    ]


def test_markdown_has_the_same_tables_and_all_its_pictures(output: Path, page: Page) -> None:
    text = (output / MARKDOWN_FILE).read_text(encoding="utf-8")
    pictures = re.findall(r"^!\[[^\n]*\]\(([^()]*)\)$", text, flags=re.MULTILINE)
    assert sorted(pictures) == sorted(f"{PICTURES_FOLDER}/{path.name}" for path in (output / PICTURES_FOLDER).iterdir())
    assert len(pictures) == len(set(pictures)) == page.tags.count("figure") > 15
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    cells = [[html.unescape(re.sub(r"\\(.)", r"\1", cell.strip())) for cell in line] for line in lines]
    assert cells == [row for rows in page.tables for row in rows]
    for name in pictures:
        assert "var(" not in (output / name).read_text(encoding="utf-8")


def test_the_same_runs_give_the_same_files_and_old_pictures_go(runs: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a", tmp_path / "b"]
    (outputs[1] / PICTURES_FOLDER).mkdir(parents=True)
    (outputs[1] / PICTURES_FOLDER / "old.svg").write_text("old")
    contents = []
    for output in outputs:
        make(runs / "sub", output)
        contents.append({path.name: path.read_bytes() for path in output.rglob("*") if path.is_file()})
    assert contents[0] == contents[1] and len(contents[0]) > 2


def test_everything_from_files_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('$x_1^')</script>&\"|`* 日本"
    found = architectures(1)[0]
    runs = tmp_path / "<script>$_" / "_<b>"
    write_search(runs / "search", found, algorithm=evil)
    facts = {**read_json(runs / "search/architecture.json", "found")["found"], "device": evil}
    found.to_json(runs / "search/architecture.json", facts)
    write_sub(runs / "<img src=x>", found)
    event = {"event": "valid", "name": evil, "update": 1, "loss": 1.0}
    write_run(runs / "super", "hat-train-super", {"note": evil}, [event], machine=evil, host="\0\x1b[31m")
    write_evaluation(runs / "evaluation", Path(evil), 30.0)
    page = make(runs.parent, tmp_path / "report")
    assert not {"script", "b", "img"} & set(page.tags)
    text = (tmp_path / "report" / HTML_FILE).read_text(encoding="utf-8")
    assert "<script" not in text and html.escape(evil) in text and "\x1b" not in text
    assert page.table("BLEU, tokenised")[evil]["sacreBLEU"] == "29.50"
    outside_code = re.sub(r"```.*?```", "", (tmp_path / "report" / MARKDOWN_FILE).read_text(), flags=re.DOTALL)
    assert "<script" not in outside_code and "<img" not in outside_code and "<b>" not in outside_code


def test_names_of_pictures_are_told_apart(tmp_path: Path) -> None:
    for name in ("a b", "a-b", "a_b"):
        write_sub(tmp_path / name, architectures(1)[0])
    assert [run.key for run in find_runs([tmp_path])] == ["a-b", "a-b-2", "a-b-3"]


UNFINISHED = "Not finished: {} of 40 architectures are measured, not all of them in all 3 passes."


def test_runs_that_are_not_finished_are_shown_as_such(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_super(runs / "super", finished=False)
    with (runs / "super/metrics.jsonl").open("a") as file:
        file.write('{"event": "tra')  # being written
    write_latency(runs / "latency", rows=12, finished=False)
    write_latency(runs / "nothing_yet", rows=0, finished=False)
    write_search(runs / "search", architectures(1)[0])
    for name in ("run.json", "config.yaml", "metrics.jsonl", "architecture.json", "pareto.json"):
        (runs / "search" / name).unlink()
    (runs / "search/history.jsonl").rename(runs / "search/history.partial.jsonl")
    page = make(runs, tmp_path / "report")
    assert {row["state"] for row in page.table("run", "commit").values()} == {"not finished"}
    assert {"Not finished: at update 100 of 100.", UNFINISHED.format(12), UNFINISHED.format(0)} <= set(page.texts)
    assert "Not finished: search; what it found comes at its end." in page.texts
    assert "Too few rows to look for disturbed ones." in page.texts
    assert "candidates scored" in page.texts  # its picture is there


@pytest.mark.parametrize("anchored", [True, False])
def test_a_data_set_that_is_being_measured(anchored: bool, tmp_path: Path) -> None:
    folder = write_latency(tmp_path / "latency", rows=12, finished=False, anchored=anchored)
    page = make(folder, tmp_path / "report")
    assert UNFINISHED.format(12) in page.texts
    assert page.table("fastest", "slowest")["whole translation"]["rows"] == "12"
    assert ("anchor, by the clock (ms)" in page.texts) is anchored


def test_a_device_record_is_written_for_people(tmp_path: Path) -> None:
    folder = write_latency(tmp_path / "latency")
    seen = {"time": "2026-11-27T09:05:52Z", "load_average": 0.25, "temperature_celsius": None, "frequency_mhz": 2450.4}
    sessions = [{"start": seen, "end": seen | {"time": "2026-11-27T10:00:00Z", "load_average": 1.5}}, {"start": seen}]
    device = read_json(folder / "device.json", "a device record")
    write_json(folder / "device.json", device | {"hardware": {"affinity": [0, 2, 3]}, "sessions": sessions})
    page = make(folder, tmp_path / "report")
    columns = ["measuring", "time", "load of the last minute", "temperature, °C", "frequency, MHz"]
    (rows,) = [rows for rows in page.tables if rows[0] == columns]
    assert rows[1:] == [
        ["session 1 begins", "2026-11-27 09:05 UTC", "0.25", "–", "2,450"],
        ["session 1 ends", "2026-11-27 10:00 UTC", "1.50", "–", "2,450"],
        ["session 2 begins", "2026-11-27 09:05 UTC", "0.25", "–", "2,450"],
        ["session 2 ends", "–", "–", "–", "–"],
    ]
    assert "0, 2, 3" in page.texts and not any("[" in text or "{" in text for text in page.texts if "load" in text)


def test_numbers_that_are_none_are_shown(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    found = architectures(1)[0]
    write_search(runs / "search", found)
    history = [{"best_loss": value, "mean_loss": 1e308, "newly_scored": 3} for value in (float("nan"), 2.5, -1e999)]
    (runs / "search/history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    facts = {"limit_ms": float("inf"), "predicted_ms": float("nan"), "measured_ms": None, "validation_loss": 1e300}
    content = json.dumps(found.to_dict() | {"found": facts})
    (runs / "search/architecture.json").write_text(content)
    events = [{"event": "train", "update": update, "loss": None, "target_tokens_per_s": None} for update in (1, 2)]
    events += [{"event": "valid", "update": 2, "name": "largest", "loss": None, "nll": None}]
    write_run(runs / "super", "hat-train-super", {}, events)
    page = make(runs, tmp_path / "report")
    row = page.table("limit, ms", "measured, ms")["search"]
    assert (row["limit, ms"], row["predicted, ms"], row["measured, ms"]) == ("inf", "nan", "predicted only")
    assert row["validation loss"] == "1e+300"
    assert page.table("validated")["largest"] == {
        "validated": "largest", "loss": "not finite", "nll": "not finite", "perplexity": "–"
    }  # fmt: skip


def test_a_copied_folder_without_its_record_is_known_by_its_files(runs: Path, tmp_path: Path) -> None:
    for name in ("latency", "predictor", "super", "search", "scratch"):
        shutil.copytree(runs / name, tmp_path / name)
    for path in tmp_path.rglob("run.json"):
        path.unlink()
    found = find_runs([tmp_path])
    assert {run.name: run.kind for run in found} == {
        "super": "super", "latency": "latency", "predictor": "predictor", "search": "search", "scratch": "sub",
        "scratch/evaluation": "evaluation",
    }  # fmt: skip
    assert all(run.finished for run in found)


def test_a_folder_given_twice_is_one_run(runs: Path, tmp_path: Path) -> None:
    twice = [str(runs / "search"), str(runs / "sub" / ".." / "search")]
    assert main([*twice, "--output", str(tmp_path)]) == 0
    assert len(Page((tmp_path / HTML_FILE).read_text()).table("run", "commit")) == 1


@pytest.mark.parametrize(
    ("run", "name", "content", "message"),
    [
        ("search", "run.json", "{", "search/run.json: must be the record of a run, is not valid JSON"),
        ("search", "run.json", '{"command": "make"}', "search/run.json: must be the record of one of hat-prepare,"),
        ("search", "config.yaml", "", "search/config.yaml: must hold 'key: value' lines, is empty"),
        ("search", "config.yaml", "a: [", "search/config.yaml"),
        ("search", "history.jsonl", "x\n{}\n", "search/history.jsonl, line 1: must be the history of a search"),
        ("search", "history.jsonl", '{"best_loss": "3"}\n', "search/history.jsonl: best_loss must be a number, is '3'"),
        ("search", "pareto.json", "", "search/pareto.json: must be the front of a search, is empty"),
        ("search", "pareto.json", "{}", "search/pareto.json: must be the front of a search, a JSON list of objects"),
        ("search", "pareto.json", "[{}]", "search/pareto.json, item 0: architecture: must be an architecture"),
        ("search", "architecture.json", "{}", 'search/architecture.json: "format" must be "hat.architecture/1"'),
        ("super", "metrics.jsonl", "[1]\n", "super/metrics.jsonl, line 1: must be metrics"),
        ("super", "metrics.jsonl", '{"event": "train", "loss": true}\n', "jsonl: loss must be a number, is true"),
        ("super", "run.json", '{"command": "hat-train-super", "seconds": "a"}', "run.json: seconds must be a number"),
        ("latency", "latency.csv", "", "latency/latency.csv: must be a latency data set (CSV), is empty"),
        ("latency", "latency.csv", "a,b\n1,2\n", "latency/latency.csv, line 1: must name the columns"),
        ("latency", "device.json", "[]", "latency/device.json: must be a device record, a JSON object, is a list"),
        ("latency", "device.json", '{"sessions": 3}', "latency/device.json: sessions must be a list of objects, is 3"),
        ("latency", "device.json", '{"sessions": [{"start": 3}]}', "sessions, item 0: start must be an object, is 3"),
        ("search", "architecture.json", STRANGE, "architecture.json: found: statistic must be one of: mean, p90; is 3"),
        ("predictor", "predictions.csv", "", "predictor/predictions.csv, line 1: must name the columns of predicted"),
        ("predictor", "predictions.csv", "row,part\n", "line 1: must name the columns of predicted beside measured"),
        ("predictor", "predictions.csv", TABLE, "predictor/predictions.csv: must hold at least one row"),
        ("predictor", "predictions.csv", TABLE + "0,1,2", "line 2: must have 4 values as the first line says, has 3"),
        ("predictor", "predictions.csv", TABLE + "0,1,nan,test", "line 2: predicted_ms must be a number above 0, is"),
        ("predictor", "predictions.csv", TABLE + "0,-1,2,test", "line 2: measured_ms must be a number above 0"),
        ("predictor", "predictions.csv", TABLE + "1,1,2,test", "line 2: row must be 0, is '1'"),
        ("predictor", "predictions.csv", TABLE + "0,1,2,tes", "line 2: part must be one of: train, valid, test,"),
        ("predictor", "predictions.csv", TABLE + '0,1,2,"te', "line 2: not a line of CSV (damaged or truncated?)"),
        ("predictor", "predictor.json", "{}", "predictor/predictor.json: format: is required"),
        ("predictor", "metrics.json", '{"test": 3}', "predictor/metrics.json: test must be an object, is 3"),
        ("sub", "config.json", '{"architecture": 1}', "sub/config.json: architecture: must be an architecture"),
        ("sub", "evaluation/evaluation.json", "no", "evaluation.json: must be an evaluation, is not valid JSON"),
        ("sub", "evaluation/evaluation.json", '{"bleu": {"tokenized": []}}', "bleu: tokenized must be a number, is []"),
    ],
)  # fmt: skip
def test_damaged_files_are_named_and_nothing_is_written(
    run: str, name: str, content: str, message: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / run, tmp_path / run)
    (tmp_path / run / name).write_text(content)
    capsys.readouterr()
    assert main([str(tmp_path / run), "--output", str(tmp_path / "report")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("hat-report: ") and err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "report").exists()


def test_folders_that_are_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / "config.json", {"model_type": "bert"})
    (tmp_path / "file").write_text("")
    expected = {
        "none": "none: must be a folder that a hat command wrote, there is none.",
        "file": "file: must be a folder that a hat command wrote, is a file.",
        "empty": "empty: must be a folder that a hat command wrote, or hold such folders; is empty.",
        "other": "other: must be a folder that a hat command wrote, or hold such folders; holds none of their files.",
    }
    for name, message in expected.items():
        assert main([str(tmp_path / name), "--output", str(tmp_path / "report")]) == 2
        assert capsys.readouterr() == ("", f"hat-report: {tmp_path}/{message}\n")


def test_output_is_required_and_must_be_a_folder(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(runs)]) == 2
    assert "the following arguments are required: --output" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert main([str(runs / "search"), "--output", str(tmp_path / "file")]) == 2
    assert "file: must be a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_without_matplotlib_one_line_says_so(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(runs), "--output", str(tmp_path / "report")]) == 2
    message = "a report needs the package matplotlib, which is not installed; pip install matplotlib."
    assert capsys.readouterr() == ("", f"hat-report: {message}\n")
    assert not (tmp_path / "report").exists()


def test_architectures_of_the_space_are_what_the_drawings_show(runs: Path, output: Path) -> None:
    found = Architecture.from_json(runs / "search" / "architecture.json")
    assert found in SPACE
    drawing = (output / PICTURES_FOLDER / "architecture-1.svg").read_text()
    assert drawing.count('id="encoder-layer-') == len(found.encoder.layers)
    assert len(re.findall(r'id="decoder-layer-\d+"', drawing)) == len(found.decoder.layers)
