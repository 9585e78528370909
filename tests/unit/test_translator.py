"""Text in, text out: the Translator, hat-translate and hat-evaluate with tiny models."""

import codecs
import gzip
import io
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_task import ARCHITECTURE, make_data, sentences, sub_settings, super_settings, write_lines, write_yaml

from hat import SuperTransformer, Transformer, Translator
from hat.artifacts import file_digest
from hat.cli.evaluate import main as evaluate_main
from hat.cli.train_sub import main as train_sub
from hat.cli.train_super import main as train_super
from hat.cli.translate import main as translate_main
from hat.data.codec import TextCodec
from hat.data.corpus import CorpusMeta
from hat.data.shortlist import Shortlist
from hat.decoding import BeamOptions
from hat.decoding import translator as translator_module
from hat.errors import ConfigError, DataError
from hat.recipes.model_folder import load_model

LIMITS = {"max_length_ratio": 1.0, "max_length_offset": 3}
FLAGS = ["decoding.max_length_offset=3", "device=cpu", "threads=1"]
SOURCE = sentences(30, seed=7)[0]

CUDA_LATENCY = "{source_length: 5, target_length: 5, device: 'cuda:99'}"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, a SuperTransformer ``super``, ``architecture.json`` and its SubTransformer ``sub``."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.move(make_data(folder / "text"), folder / "data")
    (folder / "architecture.json").write_text(json.dumps(ARCHITECTURE))
    still = {"max_updates": 1, "final": "last", "schedule": {"kind": "constant", "peak": 1e-30, "warmup_updates": 0}}
    still["optimizer"] = {"kind": "adam"}
    settings = super_settings(folder / "data", folder / "super", **still)
    assert train_super([write_yaml(folder / "super.yaml", settings)]) == 0
    # Larger weights say something else about every line; training would need minutes for that.
    model = SuperTransformer.from_pretrained(folder / "super")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    model.save_pretrained(folder / "super")
    settings = sub_settings(folder / "data", folder / "sub", folder / "architecture.json", **still)
    assert train_sub([write_yaml(folder / "sub.yaml", settings), "--inherit", str(folder / "super")]) == 0
    return folder


@pytest.fixture
def translator(runs: Path) -> Translator:
    return Translator.from_pretrained(runs / "sub")


@pytest.fixture
def run(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in ``runs`` with bytes on standard input; gives exit status, stdout and stderr."""

    def run_command(main: Callable[[list[str]], int], *arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.chdir(runs)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


def as_bytes(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def test_order_is_kept_and_batches_change_nothing(translator: Translator) -> None:
    expected = [translator.translate([line], **LIMITS)[0] for line in SOURCE]
    assert len(set(expected)) > 10, "the lines must differ for their order to show"
    for batch_tokens in (1, 17, 4096):
        assert translator.translate(SOURCE, batch_tokens=batch_tokens, **LIMITS) == expected
    assert translator.translate(reversed(SOURCE), **LIMITS) == expected[::-1]


def test_empty_lines_stay_empty(translator: Translator) -> None:
    lines = ["", SOURCE[0], "  \t", SOURCE[1], ""]
    found = translator.translate(lines, **LIMITS)
    assert [found[index] for index in (0, 2, 4)] == ["", "", ""]
    assert [found[1], found[3]] == translator.translate(SOURCE[:2], **LIMITS)
    assert translator.translate([], **LIMITS) == []
    assert translator.translate([""], **LIMITS) == [""]


def test_unknown_words_and_long_lines_are_translated(translator: Translator) -> None:
    assert len(translator.translate(["never heard of", "s1 " * 2000], max_length_ratio=0, max_length_offset=5)) == 2


def test_n_best(translator: Translator) -> None:
    options = BeamOptions(beam=4, length_penalty=0.6, **LIMITS)
    for line, found in zip(SOURCE, translator.translate_nbest(SOURCE, options), strict=True):
        scores = [translation.score for translation in found]
        assert 1 <= len(found) <= 4
        assert scores == sorted(scores, reverse=True) and max(scores) < 0
        assert found[0].text == translator.translate([line], beam=4, length_penalty=0.6, **LIMITS)[0]
        assert all(translation.words.split() == translation.text.split() for translation in found)


def test_fewer_of_the_n_best_are_the_first_of_them(translator: Translator) -> None:
    options = BeamOptions(beam=4, **LIMITS)
    whole = translator.translate_nbest(SOURCE, options)
    for most in (1, 2, 9):
        assert translator.translate_nbest(SOURCE, options, most=most) == [found[:most] for found in whole]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_type_that_is_asked_for_is_computed_in(
    run: Run, translator: Translator, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """These products are too small to be rounded, so the type is seen where the model is packed."""
    packed, asked = translator_module.pack, []

    def spy(net: Transformer, dtype: Any, **options: Any) -> Any:
        asked.append(dtype)
        return packed(net, dtype, **options)

    monkeypatch.setattr(translator_module, "pack", spy)
    limits = [f"decoding.{name}={value}" for name, value in LIMITS.items()]
    status, out, _ = run(translate_main, "sub", "--dtype", dtype, *limits, stdin=as_bytes(SOURCE))
    assert status == 0 and asked == [dtype]
    assert out.splitlines() == translator.translate(SOURCE, **LIMITS)


def test_options_are_checked(translator: Translator) -> None:
    with pytest.raises(ConfigError, match=r"^translate: beem: no such setting\. Did you mean 'beam'\?$"):
        translator.translate(SOURCE, beem=5)
    with pytest.raises(ConfigError, match=r"^translate: beam: must be greater than 0, is 0$"):
        translator.translate(SOURCE, beam=0)
    with pytest.raises(ConfigError, match=r"^translate: length_penalty: must be less than or equal to 10, is 500"):
        translator.translate(SOURCE, length_penalty=500)
    with pytest.raises(ConfigError, match="lines must be a list of sentences"):
        translator.translate("s1 s2")


def test_the_tokeniser_must_be_the_models(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "sub", tmp_path / "sub")
    path = tmp_path / "sub" / "tokenizer" / "target" / "dict.txt"
    path.write_text(path.read_text() + "one_more 1\n")
    with pytest.raises(DataError, match=r"\(16 source and 16 target tokens\), has 16 and 17"):
        Translator.from_pretrained(tmp_path / "sub")
    shutil.rmtree(tmp_path / "sub" / "tokenizer")
    with pytest.raises(DataError, match="tokenizer"):
        Translator.from_pretrained(tmp_path / "sub")


def test_what_is_extracted_from_a_loaded_model_translates_text(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "super", tmp_path / "super")
    model = SuperTransformer.from_pretrained(tmp_path / "super")
    model.extract(model.space.smallest()).save_pretrained(tmp_path / "sub")
    Transformer.from_pretrained(tmp_path / "sub").save_pretrained(tmp_path / "copy")
    translated = Translator.from_pretrained(tmp_path / "copy").translate(SOURCE, **LIMITS)
    model.space.smallest().to_json(tmp_path / "smallest.json")
    net, codec = load_model(runs / "super", tmp_path / "smallest.json")
    assert translated == Translator(net, codec).translate(SOURCE, **LIMITS)
    shutil.rmtree(tmp_path / "super")
    with pytest.raises(DataError, match=r"super/tokenizer: no such folder; the tokeniser of a model is expected here"):
        model.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again" / "config.json").exists()
    with pytest.raises(DataError, match="no such folder"):
        model.save_pretrained(tmp_path / "sub")
    assert (
        Translator.from_pretrained(tmp_path / "sub").translate(SOURCE, **LIMITS) == translated
    )  # what was there stays


def test_a_model_without_a_tokeniser_does_not_get_that_of_another(runs: Path, tmp_path: Path) -> None:
    """It would translate into other words, without an error."""
    shutil.copytree(runs / "sub", tmp_path / "sub")
    before = {path: path.read_bytes() for path in (tmp_path / "sub").rglob("*") if path.is_file()}
    net = Transformer.from_pretrained(runs / "sub")
    net.tokenizer_folder = None
    with pytest.raises(ConfigError, match=r"sub: holds the tokeniser of an earlier model, and this model has none"):
        net.save_pretrained(tmp_path / "sub")
    assert {path: path.read_bytes() for path in (tmp_path / "sub").rglob("*") if path.is_file()} == before


def test_a_tokeniser_takes_the_place_of_another_as_a_whole(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "sub", tmp_path / "sub")
    own = tmp_path / "sub" / "tokenizer"
    kept = own / "source" / "dict.txt"
    earlier = kept.stat().st_mtime_ns
    net = Transformer.from_pretrained(runs / "sub")
    net.save_pretrained(tmp_path / "sub")
    assert kept.stat().st_mtime_ns == earlier  # the same: nobody who reads it now meets half a file
    (own / "source" / "bpe.codes").write_text("of another tokeniser")
    net.save_pretrained(tmp_path / "sub")
    assert not (own / "source" / "bpe.codes").exists()
    Translator.from_pretrained(tmp_path / "sub")


def shortlist(runs: Path, always: Sequence[int], likely: int) -> Shortlist:
    """Of the model in ``runs``: ids that are always there, and one other that each source token gives."""
    sizes = CorpusMeta.load(runs / "data")
    table = np.full((sizes.source_vocab_size, 1), likely, dtype=np.int32)
    digest = TextCodec.load(runs / "data" / "tokenizer").vocabulary_digest()
    return Shortlist(np.array(always, dtype=np.int32), table, sizes.target_vocab_size, digest)


def test_a_shortlist_of_all_tokens_changes_nothing(
    run: Run, runs: Path, translator: Translator, tmp_path: Path
) -> None:
    everything = shortlist(runs, range(translator.model._net.target_vocab_size), 5)
    listed = Translator(Transformer.from_pretrained(runs / "sub"), translator.codec, shortlist=everything)
    options = BeamOptions(beam=3, **LIMITS)
    assert listed.translate_nbest(SOURCE, options) == translator.translate_nbest(SOURCE, options)
    everything.save(tmp_path / "all.npz")
    flags = [*FLAGS, "--beam", 3, "--nbest", 2]
    plain = run(translate_main, "sub", *flags, stdin=as_bytes(SOURCE))
    assert run(translate_main, "sub", *flags, "--shortlist", tmp_path / "all.npz", stdin=as_bytes(SOURCE)) == plain
    plain_result = evaluation(run, "sub", "data=data")
    result = evaluation(run, "sub", "data=data", f"shortlist={tmp_path / 'all.npz'}")
    assert result["decoding"].pop("shortlist") == {"file": str(tmp_path / "all.npz"), "mean_tokens": 16}
    assert plain_result["decoding"].pop("shortlist") is None
    assert result["bleu"] == plain_result["bleu"] and result["decoding"] == plain_result["decoding"]


def test_nothing_but_what_the_shortlist_gives_is_translated_to(runs: Path, translator: Translator) -> None:
    few = shortlist(runs, [6, 9], 5)
    listed = Translator(Transformer.from_pretrained(runs / "sub"), translator.codec, shortlist=few)
    words = translator.codec.target_vocabulary.decode([3, 5, 6, 9])
    found = listed.translate(SOURCE, **LIMITS)
    assert found != translator.translate(SOURCE, **LIMITS)
    assert {word for line in found for word in line.split()} <= set(words)


def test_the_shortlist_must_be_the_models(run: Run, runs: Path, translator: Translator, tmp_path: Path) -> None:
    own = shortlist(runs, [6, 9], 5)
    other = Shortlist(own._always, own._likely, own.target_vocab_size, "of other vocabularies")  # of the same sizes
    with pytest.raises(DataError, match=r"the shortlist must be of the data that the model was trained on"):
        Translator(Transformer.from_pretrained(runs / "sub"), translator.codec, shortlist=other)
    other.save(tmp_path / "other.npz")
    status, out, err = run(translate_main, "sub", "--shortlist", tmp_path / "other.npz", stdin=b"s1\n")
    assert (status, out, err.count("\n")) == (2, "", 1) and "the shortlist must be of the data" in err
    smaller = Shortlist(own._always, own._likely[:5], own.target_vocab_size, "of other vocabularies")
    smaller.save(tmp_path / "smaller.npz")
    status, out, err = run(evaluate_main, "sub", "data=data", f"shortlist={tmp_path / 'smaller.npz'}")
    assert (status, out) == (2, "") and err.splitlines()[-1].startswith("hat-evaluate: the shortlist must be of the")


def test_translate_reads_standard_input_and_files(run: Run, translator: Translator, tmp_path: Path) -> None:
    expected = "".join(f"{line}\n" for line in translator.translate(SOURCE, beam=2, length_penalty=0.5, **LIMITS))
    flags = [*FLAGS, "--beam", 2, "--lenpen", 0.5]
    text = as_bytes(SOURCE)
    (tmp_path / "plain.txt").write_bytes(text)
    (tmp_path / "windows.txt").write_bytes(text.replace(b"\n", b"\r\n"))
    (tmp_path / "unended.txt").write_bytes(text.rstrip(b"\n"))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(text))
    assert run(translate_main, "sub", *flags, stdin=text)[:2] == (0, expected)
    assert run(translate_main, "sub", *flags, stdin=text.replace(b"\n", b"\r\n"))[1] == expected
    assert run(translate_main, "sub", *flags, stdin=codecs.BOM_UTF8 + text)[1] == expected
    for path in tmp_path.iterdir():
        assert run(translate_main, "sub", *flags, "--input", path)[1] == expected, path
    for sizes in (["--batch-tokens", 5], ["lines_at_once=1"], ["lines_at_once=7"]):
        assert run(translate_main, "sub", *flags, *sizes, stdin=text)[1] == expected, sizes
    assert run(translate_main, "sub", *flags, "--tokenized", stdin=text)[1] == expected  # words are tokens here
    assert run(translate_main, "sub", stdin=b"")[:2] == (0, "")


def test_translate_prints_n_best_lists(run: Run) -> None:
    status, out, _ = run(translate_main, "sub", *FLAGS, "--beam", 3, "--nbest", 2, stdin=as_bytes([*SOURCE[:2], ""]))
    rows = [line.split("\t") for line in out.splitlines()]
    assert status == 0
    assert [row[0] for row in rows] == ["0", "0", "1", "1", "2"]
    assert float(rows[0][1]) >= float(rows[1][1])
    assert rows[4] == ["2", "0.0000", ""]


def test_translate_with_a_member_of_a_supertransformer(run: Run) -> None:
    text = as_bytes(SOURCE)
    expected = run(translate_main, "sub", *FLAGS, stdin=text)[1]
    assert run(translate_main, "super", *FLAGS, "--architecture", "architecture.json", stdin=text)[1] == expected


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["super"], b"", "super: holds a SuperTransformer; say which SubTransformer with architecture=FILE.json."),
        (["sub", "--architecture", "architecture.json"], b"", "sub: holds a standalone model, which has its own"),
        (["sub", "--input", "none.txt"], b"", "none.txt: no such file"),
        (["sub"], b"s1 s2\ns3 \xff\n", "standard input, line 2: must be UTF-8 text, byte 4 of the line is not (0xff)"),
        (["sub", "--shortlist", "none.npz"], b"", "none.npz: no such file; hat-prepare writes one"),
        (["sub", "--shortlist", "architecture.json"], b"", "architecture.json: must be a shortlist.npz of hat-prepare"),
        (["sub", "--nbest", "6"], b"", "nbest must be at most decoding.beam (5), is 6"),
        (["sub", "--beam", "0"], b"", "decoding.beam: must be greater than 0, is 0"),
        (["sub", "--beam", "many"], b"", "argument --beam: invalid int value: 'many'"),
        (["sub", "decoding.beem=3"], b"", "decoding.beem: no such setting. Did you mean 'beam'?"),
        (["sub", "--bean", "3"], b"", "unrecognized arguments: --bean"),
        (["sub", "device=tpu"], b"", "device: must be auto, cpu, cuda or cuda:N, is 'tpu'."),
        (["sub", "device=meta"], b"", "device: must be auto, cpu, cuda or cuda:N, is 'meta'."),
        (["nowhere"], b"", "nowhere: no such file or folder; give the path of a YAML file, or the folder of a model."),
        (["data"], b"", "data/config.json: no such file"),
        (["model=nowhere"], b"", "model=nowhere: no such file"),
        ([], b"", "the following arguments are required"),
    ],
)  # fmt: skip
def test_translate_reports_mistakes_in_one_line(run: Run, arguments: list[str], stdin: bytes, message: str) -> None:
    status, out, err = run(translate_main, *arguments, stdin=stdin)
    assert (status, out) == (2, "")
    assert err.startswith("hat-translate: ") and message in err and err.count("\n") == 1


def test_standard_input_may_be_closed(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert translate_main([str(runs / "sub"), *FLAGS]) == 2
    message = "hat-translate: standard input: must be open, is closed; name a file with --input.\n"
    assert capsys.readouterr() == ("", message)


def test_damaged_models_are_reported(run: Run, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "sub", tmp_path / "sub")
    weights = tmp_path / "sub" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    status, out, err = run(translate_main, tmp_path / "sub", stdin=b"s1\n")
    assert (status, out, err.count("\n")) == (2, "", 1) and str(weights) in err


@pytest.mark.parametrize("main", [translate_main, evaluate_main, train_super, train_sub])
def test_help_has_an_example(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "example: hat-" in out and "--dry-run" in out


def test_dry_run_prints_settings_that_can_be_used(run: Run, tmp_path: Path, translator: Translator) -> None:
    status, out, err = run(translate_main, "sub", *FLAGS, "--beam", 2, "--dry-run", stdin=b"s1\n")
    assert (status, err) == (0, "")
    assert yaml.safe_load(out)["decoding"]["beam"] == 2
    (tmp_path / "translate.yaml").write_text(out)
    expected = translator.translate(["s1 s2"], beam=2, **LIMITS)[0]
    assert run(translate_main, tmp_path / "translate.yaml", stdin=b"s1 s2\n")[1] == f"{expected}\n"


def evaluation(run: Run, *arguments: object) -> dict[str, Any]:
    status, out, err = run(evaluate_main, *arguments, *FLAGS)
    assert status == 0, err
    return json.loads(out)


def test_evaluate_a_split_or_two_files(run: Run, runs: Path, tmp_path: Path) -> None:
    split = evaluation(run, "sub", "data=data", "split=test")
    source, target = runs / "text" / "test.source", runs / "text" / "test.target"
    files = evaluation(run, "sub", f"source={source}", f"target={target}")
    packed = tmp_path / "target.gz"
    packed.write_bytes(gzip.compress(target.read_bytes()))
    inside = evaluation(run, "super", "architecture=architecture.json", f"source={source}", f"target={packed}")
    assert split["digests"] == {"model": file_digest(runs / "sub" / "model.safetensors")}
    assert inside["digests"] == {
        "model": file_digest(runs / "super" / "model.safetensors"),
        "architecture": file_digest(runs / "architecture.json"),
    }
    for result in (split, files, inside):
        for name in ("translation_seconds", "model", "digests"):
            del result[name]
    assert files == split
    # The same weights, up to the step of 10^-30 that made a standalone model of them.
    assert inside["bleu"] == split["bleu"] and inside["loss"] == pytest.approx(split["loss"], rel=1e-6)
    assert inside["parameters"] == split["parameters"]
    assert split["sentences"] == 12 and split["latency"] is None
    assert set(split["bleu"]) == {"tokenized", "compound_split", "sacrebleu"}
    assert "tok:13a" in split["bleu"]["sacrebleu"]["signature"]
    assert split["perplexity"] == pytest.approx(torch.tensor(split["nll"]).exp().item(), rel=1e-4)
    assert split["decoding"]["max_length_offset"] == 3
    assert next(iter(split["decoding"]["kernels"])) == "fewer than 65536 weights"


def test_sacrebleu_compares_with_the_untouched_reference(run: Run, runs: Path, tmp_path: Path) -> None:
    source, target = runs / "text" / "test.source", runs / "text" / "test.target"
    (tmp_path / "raw.txt").write_text(target.read_text().upper())
    files = f"source={source}", f"target={target}"
    plain = evaluation(run, "sub", *files)["bleu"]
    cased = evaluation(run, "sub", *files, f"reference={tmp_path / 'raw.txt'}")["bleu"]
    caseless = evaluation(run, "sub", *files, f"reference={tmp_path / 'raw.txt'}", "lowercase=true")["bleu"]
    assert plain["tokenized"] == cased["tokenized"] == caseless["tokenized"]
    assert cased["sacrebleu"]["score"] < caseless["sacrebleu"]["score"] == plain["sacrebleu"]["score"]
    assert "case:mixed" in plain["sacrebleu"]["signature"] and "case:lc" in caseless["sacrebleu"]["signature"]
    (tmp_path / "raw.txt").write_text("one line\n")
    status, _, err = run(evaluate_main, "sub", *files, f"reference={tmp_path / 'raw.txt'}")
    assert status == 2 and f"{source} has 12 lines and {tmp_path / 'raw.txt'} has 1; they must be parallel" in err


def test_evaluate_gives_what_training_logged(run: Run, runs: Path) -> None:
    events = [json.loads(line) for line in (runs / "sub" / "metrics.jsonl").read_text().splitlines()]
    final = next(event for event in events if event["event"] == "final")
    source, target = runs / "text" / "valid.source", runs / "text" / "valid.target"
    for text in (["data=data", "split=valid"], [f"source={source}", f"target={target}"]):
        for batch_tokens in (1, 4096):
            found = evaluation(run, "sub", *text, f"batch_tokens={batch_tokens}")
            assert [found["loss"], found["nll"]] == pytest.approx([final["loss"], final["nll"]], rel=1e-6)


def test_evaluate_times_the_model_as_it_is(run: Run, runs: Path, translator: Translator, tmp_path: Path) -> None:
    text = f"source={runs / 'text' / 'test.source'}", f"target={runs / 'text' / 'test.target'}"
    call = "latency={source_length: 4, target_length: 4, beam: 2, device: cpu, threads: 1, runs: 2}"
    latency = evaluation(run, "sub", *text, call)["latency"]
    assert latency["runs"] == 2 and latency["total"]["mean_ms"] > latency["encoder"]["mean_ms"] > 0
    settings, net = latency["device"]["settings"], translator.model._net
    for name in ("source_vocab_size", "target_vocab_size"):
        assert settings[name] == getattr(net, name)
    for name in ("share_embeddings", "pre_norm"):
        assert settings[name] == getattr(net.options, name)
    shortlist(runs, range(6), 5).save(tmp_path / "few.npz")
    listed = evaluation(run, "sub", *text, call, f"shortlist={tmp_path / 'few.npz'}")
    assert listed["latency"]["device"]["settings"]["shortlist"] == listed["decoding"]["shortlist"]["mean_tokens"] == 6
    status, _, err = run(evaluate_main, "sub", *text, call[:-1] + ", source_vocab_size: 9}")
    assert status == 2 and "latency.source_vocab_size: no such setting" in err


def test_evaluate_times_the_call_that_it_scores(run: Run, runs: Path) -> None:
    """Type, beam and threads are the translation's unless ``latency`` has its own."""
    text = f"source={runs / 'text' / 'test.source'}", f"target={runs / 'text' / 'test.target'}"
    scored = "dtype=bfloat16", "decoding.beam=3", "threads=1"

    def timed(call: str) -> tuple[str, int, int]:
        found = evaluation(run, "sub", *text, *scored, f"latency={{source_length: 4, target_length: 4, runs: 2{call}}}")
        assert (found["decoding"]["dtype"], found["decoding"]["beam"]) == ("bfloat16", 3)
        settings = found["latency"]["device"]["settings"]
        return settings["dtype"], settings["beam"], settings["threads"]

    assert timed(", device: cpu") == ("bfloat16", 3, 1)
    assert timed(", device: cpu, dtype: float32, beam: 2, threads: 2") == ("float32", 2, 2)


def test_evaluate_a_perfect_translation(run: Run, tmp_path: Path, translator: Translator) -> None:
    write_lines(tmp_path / "source", SOURCE)
    write_lines(tmp_path / "target", translator.translate(SOURCE, **LIMITS))
    result = evaluation(
        run, "sub", f"source={tmp_path / 'source'}", f"target={tmp_path / 'target'}", f"output={tmp_path / 'out'}"
    )
    assert result["bleu"]["tokenized"] == pytest.approx(100)
    assert result["bleu"]["sacrebleu"]["score"] == pytest.approx(100)
    assert (tmp_path / "out" / "translations.txt").read_bytes() == (tmp_path / "target").read_bytes()
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == result
    event = json.loads((tmp_path / "out" / "metrics.jsonl").read_text())
    assert event["event"] == "final" and event["bleu"] == result["bleu"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["seconds"] >= result["translation_seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sub"], "either data, or both source and target must be given"),
        (["sub", "source=text/test.source"], "either data, or both source and target must be given"),
        (["sub", "data=data", "source=a", "target=b"], "either data, or both source and target must be given"),
        (["sub", "data=data", "split=tset"], "Did you mean 'test'?"),
        (["sub", "data=data", "split=train"], "data/train.source.txt: no such file"),
        (["sub", "data=nowhere"], "nowhere/meta.json: no such file"),
        (["sub", "source=text/train.source", "target=text/test.target"], "has 120 lines and text/test.target has 12"),
        (["super", "data=data"], "super: holds a SuperTransformer"),
        (["sub", "data=data", f"latency={CUDA_LATENCY}"], "latency.device: 'cuda:99' is not here"),
        (["sub", "data=data", "output=architecture.json"], "architecture.json: must be a folder that can be written"),
    ],
)
def test_evaluate_reports_mistakes_in_one_line(run: Run, arguments: list[str], message: str) -> None:
    status, out, err = run(evaluate_main, *arguments, *FLAGS)
    assert (status, out) == (2, "")
    assert err.startswith("hat-evaluate: ") and message in err and err.count("\n") == 1


def test_evaluate_empty_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    status, _, err = run(evaluate_main, "sub", f"source={tmp_path / 'empty'}", f"target={tmp_path / 'empty'}")
    assert status == 2 and "must hold at least one line, is empty" in err


def test_tokenised_bleu_compares_what_the_tokeniser_makes(
    run: Run, runs: Path, tmp_path: Path, translator: Translator
) -> None:
    shutil.copytree(runs / "sub", tmp_path / "sub")
    write_lines(tmp_path / "source", SOURCE)
    write_lines(tmp_path / "target", [line.upper() for line in translator.translate(SOURCE, **LIMITS)])
    text = [f"source={tmp_path / 'source'}", f"target={tmp_path / 'target'}"]
    assert evaluation(run, tmp_path / "sub", *text)["bleu"]["tokenized"] == 0
    assert evaluation(run, tmp_path / "sub", *text, "lowercase=true")["bleu"]["tokenized"] == pytest.approx(100)
    path = tmp_path / "sub" / "tokenizer" / "target" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lowercase": True}))
    result = evaluation(run, tmp_path / "sub", *text)["bleu"]
    assert result["tokenized"] == pytest.approx(100)
    assert result["sacrebleu"]["score"] < 1  # against the reference as it was written


def test_weights_that_are_no_numbers_are_reported(run: Run, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "sub", tmp_path / "sub")
    net = Transformer.from_pretrained(runs / "sub")
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    net.save_pretrained(tmp_path / "sub")
    for main, arguments in ((evaluate_main, ["data=data"]), (translate_main, [])):
        status, out, err = run(main, tmp_path / "sub", *arguments, stdin=b"s1 s2\n")
        assert (status, out, err.count("\n")) == (2, "", 1), err
