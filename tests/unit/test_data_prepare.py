import gzip
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hat.cli.prepare import main
from hat.config import load_config
from hat.data.batching import TrainingBatches
from hat.data.binarize import PairFilter, Workers
from hat.data.codec import TextCodec
from hat.data.corpus import CorpusMeta, ParallelCorpus
from hat.data.shortlist import Shortlist
from hat.data.text import fingerprint, parallel_chunks, read_lines, single_line
from hat.errors import ConfigError, DataError
from hat.recipes import prepare as recipe
from hat.recipes.prepare import PrepareConfig, prepare
from hat.special_ids import EOS_ID

ENGLISH = ["a dog runs on the grass .", "two men sit .", "a woman reads a book in the park .", "the boy jumps ."]
GERMAN = [
    "ein hund läuft im gras .",
    "zwei männer sitzen .",
    "eine frau liest ein buch im park .",
    "der junge springt .",
]

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Commands log to the stderr of their time, which pytest closes after the test."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a small corpus and a config with some settings changed; returns the config's path."""
    monkeypatch.chdir(tmp_path)
    for name, lines in {"train.en": ENGLISH * 5, "train.de": GERMAN * 5, "dev.en": ENGLISH, "dev.de": GERMAN}.items():
        Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_config(**changes: Any) -> Path:
        values: dict[str, Any] = {
            "output": "bin",
            "source_language": "en",
            "target_language": "de",
            "train": {"source": "train.en", "target": "train.de"},
            "valid": {"source": "dev.en", "target": "dev.de"},
            "test": {"first": {"source": "dev.en", "target": "dev.de"}},
            "tokenizer": {"kind": "bpe", "merges": 40},
        }
        Path("prepare.yaml").write_text(yaml.safe_dump(values | changes))
        return Path("prepare.yaml")

    return write_config


def run(path: Path, *overrides: str) -> Path:
    return prepare(load_config(PrepareConfig, path, overrides))


def failure(capsys: pytest.CaptureFixture[str], path: Path, *overrides: str) -> str:
    """The one line that the command ends with; nothing half-made may stay behind."""
    capsys.readouterr()
    assert main([str(path), *overrides]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *progress, message = captured.err.splitlines()
    assert message.startswith("hat-prepare: ") and not any("hat-prepare" in line for line in progress)
    assert [path.name for path in Path.cwd().iterdir() if path.name.startswith(".")] == []
    return message


def data_files(folder: Path) -> dict[str, bytes]:
    """All files but those that tell about the run."""
    about_the_run = {"config.yaml", "run.json", "metrics.jsonl"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in about_the_run
    }


def test_ids_decode_to_the_text(write: Write) -> None:
    folder = run(write())
    codec = TextCodec.load(folder / "tokenizer")
    meta = CorpusMeta.load(folder)
    assert meta.joint_vocabulary and meta.source_vocab_size == len(codec.source_vocabulary)
    for split, english, german in (("train", ENGLISH * 5, GERMAN * 5), ("valid", ENGLISH, GERMAN)):
        corpus = ParallelCorpus.load(folder, split)
        assert len(corpus) == meta.splits[split].rows == len(german)
        assert [codec.decode_target(corpus.target(row).tolist()) for row in range(len(corpus))] == german
        assert [corpus.source(row).tolist() for row in range(len(corpus))] == [codec.encode_source(x) for x in english]
    assert (folder / "first.target.txt").read_text(encoding="utf-8").splitlines() == GERMAN
    assert (folder / "valid.source.txt").read_text(encoding="utf-8").splitlines() == ENGLISH
    assert TrainingBatches(ParallelCorpus.load(folder, "train"), max_tokens=100, seed=1).next_update()


def test_command_prints_the_folder_and_logs_a_table(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write())]) == 0
    captured = capsys.readouterr()
    assert captured.out == "bin\n"
    assert "train                    20         0" in captured.err
    assert set(json.loads(Path("bin/run.json").read_text())) >= {"version", "seed", "seconds"}
    assert [json.loads(line)["split"] for line in Path("bin/metrics.jsonl").read_text().splitlines()] == [
        "train", "valid", "first",
    ]  # fmt: skip


def test_result_does_not_depend_on_workers_or_chunks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write()
    whole = data_files(run(config, "output=one"))
    monkeypatch.setattr(recipe, "_CHUNK_PAIRS", 3)  # 20 pairs: the last chunk is shorter
    assert data_files(run(config, "output=one-small")) == whole
    assert data_files(run(config, "output=two", "workers=2")) == whole
    assert {"meta.json", "train.source.ids.npy", "tokenizer/target/bpe.codes"} <= set(whole)


def test_a_shortlist_gives_translations(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """And one can be made, or made anew, for a folder that is there."""
    folder = run(write())
    assert not (folder / "shortlist.npz").exists()
    kept = {name: content for name, content in data_files(folder).items() if name != "shortlist.npz"}
    config = write(shortlist={"per_token": 1, "always": 1})
    path = run(config) / "shortlist.npz"
    codec, found = TextCodec.load(folder / "tokenizer"), Shortlist.load(path)
    dog = codec.encode_source("dog")
    assert {dog[0], EOS_ID} <= set(found.candidates(dog).tolist())  # joint: it may be copied
    assert 4 < len(found.candidates(dog)) <= 4 + 1 + 2 * len(dog)
    before = path.stat().st_mtime_ns
    run(config)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"")
    run(config)
    assert len(Shortlist.load(path).candidates(dog)) == len(found.candidates(dog))
    run(write(shortlist={"per_token": 2000, "always": 3}))  # no more than there are
    assert len(Shortlist.load(path).candidates(dog)) > len(found.candidates(dog))
    assert {name: content for name, content in data_files(folder).items() if name != "shortlist.npz"} == kept
    assert "shortlist.per_token: must be greater than or equal to 1" in failure(capsys, config, "shortlist.per_token=0")


def test_repeated_command_keeps_what_it_made(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    config = write()
    run(config)
    before = Path("bin/run.json").read_bytes()
    assert main([str(config), "workers=2"]) == 0
    assert "was made with these settings from these files before: kept" in capsys.readouterr().err
    assert Path("bin/run.json").read_bytes() == before


def test_another_data_bin_is_replaced_only_when_asked(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    config = write()
    run(config)
    before = data_files(Path("bin"))
    message = failure(capsys, config, "max_tokens=9")
    assert "bin: exists already and was made with other settings (max_tokens); set overwrite: true" in message
    Path("dev.en").write_text("\n".join(reversed(ENGLISH)) + "\n")
    assert "exists already and dev.en has changed since" in failure(capsys, config)
    assert data_files(Path("bin")) == before
    assert main([str(config), "overwrite=true"]) == 0
    assert data_files(Path("bin")) != before
    Path("bin/train.source.ids.npy").write_bytes(b"")
    assert "bin: exists already and is damaged (bin/train.source.ids.npy" in failure(capsys, config)


def test_a_link_stays_and_leads_to_the_new_folder(write: Write) -> None:
    config = write()
    run(config)
    Path("large").mkdir()
    Path("bin").rename("large/data")
    Path("bin").symlink_to("large/data")
    before = data_files(Path("bin"))
    assert main([str(config), "max_tokens=9", "overwrite=true"]) == 0
    assert Path("bin").is_symlink() and data_files(Path("large/data")) != before
    assert [path.name for path in Path("large").iterdir()] == ["data"]
    assert not [path for path in Path().iterdir() if path.name.startswith(".bin")]


def test_a_folder_of_something_else_is_never_replaced(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bin").mkdir()
    Path("bin/thesis.txt").write_text("years of work")
    assert "bin: exists and is no data-bin folder" in failure(capsys, write(), "overwrite=true")
    assert Path("bin/thesis.txt").read_text() == "years of work"
    Path("empty").mkdir()
    assert run(write(), "output=empty") == Path("empty")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | OSError
) -> None:
    def interrupt(*_: object) -> None:
        raise error

    monkeypatch.setattr(recipe, "_report", interrupt)
    expected = (DataError, "bin: cannot be written: No space left") if isinstance(error, OSError) else (error, None)
    with pytest.raises(expected[0], match=expected[1]):
        run(write())
    assert sorted(path.name for path in Path.cwd().iterdir()) == sorted(
        ["train.en", "train.de", "dev.en", "dev.de", "prepare.yaml"]
    )


def test_gzip_lists_and_byte_order_marks_are_the_same_text(write: Write) -> None:
    config = write()
    plain = ParallelCorpus.load(run(config, "output=plain"), "train")
    for side, lines in (("en", ENGLISH), ("de", GERMAN)):
        text = "\r\n".join(lines * 2)  # no line end at the end of the file
        Path(f"a.{side}").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
        Path(f"b.{side}").write_text("\n".join(lines * 3) + "\n", encoding="utf-8")
    parts = ParallelCorpus.load(run(config, "output=parts", "train.source=[a.en, b.en]", "train.target=[a.de, b.de]"),
                                "train")  # fmt: skip
    for side in ("source_sentences", "target_sentences"):
        assert np.array_equal(getattr(plain, side).ids, getattr(parts, side).ids)
        assert np.array_equal(getattr(plain, side).offsets, getattr(parts, side).offsets)


def test_training_pairs_are_filtered_and_counted(write: Write) -> None:
    Path("train.en").write_text("\n".join([*ENGLISH, "", "a b c d e f g", "x"]) + "\n")
    Path("train.de").write_text("\n".join([*GERMAN, "etwas", "a b c d e f g h i j", "x y z"]) + "\n", encoding="utf-8")
    config = write(tokenizer={"kind": "whitespace"}, vocabulary={"joint": False})
    info = CorpusMeta.load(run(config, "max_tokens=9", "max_length_ratio=2")).splits["train"]
    assert (info.rows, info.dropped) == (4, {"length_ratio": 1, "too_long": 1, "too_short": 1})
    codec = TextCodec.load("bin/tokenizer")
    assert "etwas" not in codec.target_vocabulary, "only pairs that are kept count"
    assert not codec.joint_vocabulary and "dog" in codec.source_vocabulary and "dog" not in codec.target_vocabulary


def test_filter_reasons() -> None:
    keep = PairFilter(min_tokens=2, max_tokens=10, max_length_ratio=3)
    assert [keep.reason(*lengths) for lengths in ((2, 6), (6, 2), (1, 5), (5, 1), (11, 5), (10, 10), (2, 7))] == [
        None, None, "too_short", "too_short", "too_long", None, "length_ratio",
    ]  # fmt: skip
    assert PairFilter().reason(1, 100_000) is None


def test_files_that_are_given_are_used(write: Write) -> None:
    first = run(write(), "output=first")
    tokenizer = first / "tokenizer/source"
    config = write(
        tokenizer={"kind": "bpe", "codes": str(tokenizer / "bpe.codes")},
        vocabulary={"source": str(tokenizer / "dict.txt"), "target": str(tokenizer / "dict.txt")},
    )
    second = run(config, "output=second")
    names = [name for name in data_files(first) if name != "meta.json"]
    assert {name: data_files(second)[name] for name in names} == {name: data_files(first)[name] for name in names}


def test_one_model_per_side(write: Write) -> None:
    folder = run(write(tokenizer={"kind": "bpe", "merges": 15, "joint": False}, vocabulary={"joint": False}))
    codes = [(folder / f"tokenizer/{side}/bpe.codes").read_text(encoding="utf-8") for side in ("source", "target")]
    assert codes[0] != codes[1]
    given = [f"bin/tokenizer/{side}/bpe.codes" for side in ("source", "target")]
    again = run(write(tokenizer={"kind": "bpe", "codes": given}, vocabulary={"joint": False}), "output=again")
    assert np.array_equal(ParallelCorpus.load(again, "train").target_sentences.ids,
                          ParallelCorpus.load(folder, "train").target_sentences.ids)  # fmt: skip


@pytest.mark.parametrize("joint", [True, False])
def test_sentencepiece_is_learnt_or_given(write: Write, joint: bool) -> None:
    config = write(
        tokenizer={"kind": "sentencepiece", "vocab_size": 36 if joint else 28, "joint": joint, "lowercase": True}
    )
    folder = run(config, "test={}")
    assert ((folder / "tokenizer/source/sentencepiece.model").read_bytes()
            == (folder / "tokenizer/target/sentencepiece.model").read_bytes()) is joint  # fmt: skip
    corpus, codec = ParallelCorpus.load(folder, "valid"), TextCodec.load(folder / "tokenizer")
    assert [codec.decode_target(corpus.target(row).tolist()) for row in range(4)] == GERMAN
    given = [str(folder / f"tokenizer/{side}/sentencepiece.model") for side in ("source", "target")]
    again = run(
        write(tokenizer={"kind": "sentencepiece", "model": given, "lowercase": True}), "output=again", "test={}"
    )
    assert np.array_equal(ParallelCorpus.load(again, "train").source_sentences.ids,
                          ParallelCorpus.load(folder, "train").source_sentences.ids)  # fmt: skip


def test_moses_keeps_raw_references(write: Write) -> None:
    Path("dev.de").write_text('Ein Hund, z.B. "Rex".\n' * 4, encoding="utf-8")
    tokenizer = {"kind": "bpe", "merges": 20, "pretokenize": "moses", "lowercase": True}
    folder = run(write(tokenizer=tokenizer))
    assert (folder / "valid.target.txt").read_text().splitlines()[0] == 'Ein Hund, z.B. "Rex".'
    assert TextCodec.load(folder / "tokenizer").target_words('Ein Hund, z.B. "Rex".') == 'ein hund , z.b. " rex " .'
    assert json.loads((folder / "tokenizer/source/tokenizer.json").read_text())["language"] == "en"


def test_text_that_comes_split_is_put_together_for_people(write: Write) -> None:
    split, raw = "Ein Hund , A &amp; B : x @-@ y &quot; z &quot; .", 'Ein Hund, A & B: x-y "z".'
    Path("train.de").write_text(f"{split}\n" * 20, encoding="utf-8")
    Path("dev.de").write_text(f"{split}\n" * 4, encoding="utf-8")
    Path("raw.de").write_text(f"{raw.upper()}\n" * 4, encoding="utf-8")
    tests = {"first": {"source": "dev.en", "target": "dev.de", "reference": "raw.de"}}
    folder = run(write(tokenizer={"kind": "bpe", "merges": 20, "detokenize": "moses"}, test=tests))
    assert (folder / "first.target.txt").read_text().splitlines() == [split] * 4
    assert (folder / "first.reference.txt").read_text().splitlines() == [raw.upper()] * 4
    codec = TextCodec.load(folder / "tokenizer")
    ids = ParallelCorpus.load(folder, "valid").target(0).tolist()
    assert codec.decode_target_words(ids) == codec.target_words(split) == split
    assert codec.decode_target(ids) == codec.target_text(split) == raw
    Path("raw.de").write_text("one line\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"raw\.de: must have a line for each of the 4 of source and target, has 1"):
        run(write(tokenizer={"kind": "bpe", "merges": 20, "detokenize": "moses"}, test=tests), "output=other")


def test_a_device_without_sacremoses_translates_into_words(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(write(tokenizer={"kind": "bpe", "merges": 20, "detokenize": "moses"}))
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    codec = TextCodec.load(folder / "tokenizer")
    ids = ParallelCorpus.load(folder, "valid").target(0).tolist()
    assert codec.decode_target_words(ids) == GERMAN[0]
    with pytest.raises(ConfigError, match="Moses' rules need the package sacremoses"):
        codec.decode_target(ids)


def test_what_a_killed_run_left(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """Killed between its two renames, a run left the old folder under another name: it is put back, and kept."""
    config = write()
    folder = run(config)
    before = data_files(folder)
    folder.rename(".bin.0123abcd.old")
    Path(".bin.4567abcd.partial").mkdir()
    Path(".bin.x.0123abcd.old").mkdir()  # of another output, bin.x
    with caplog.at_level(logging.WARNING, logger="hat"):
        assert data_files(run(config)) == before
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.split(":")[0] for warning in warnings] == [".bin.4567abcd.partial"]
    assert Path(".bin.x.0123abcd.old").exists() and not Path(".bin.0123abcd.old").exists()


def truncated_gzip(lines: list[str]) -> bytes:
    return gzip.compress(("\n".join(lines) + "\n").encode() * 50)[:-20]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.de", "\n".join(GERMAN * 4).encode(), "train.de: must have equally many lines, have 20 and 16; line n"),
        ("dev.en", "\n".join(ENGLISH[:3]).encode(), "dev.en and dev.de: must have equally many lines, have 3 and 4"),
        ("train.en", b"a\n" * 4 + b"caf\xe9\n" + b"a\n" * 15, "train.en, line 5: must be UTF-8 text, byte 4"),
        ("dev.de", "\n".join([*GERMAN[:3], ""]).encode() + b"\n", "dev.de, line 4: must hold text, is empty"),
        ("dev.en", "\n".join([*ENGLISH[:1], " \t", *ENGLISH[2:]]).encode(), "dev.en, line 2: must hold text, is empty"),
        ("train.de", truncated_gzip(GERMAN), "train.de: must be a complete gzip file, is truncated"),
        ("train.de", b"\x1f\x8b" + b"nonsense" * 9, "train.de: must be a gzip file, is damaged"),
        ("train.en", None, "train.en: cannot be read: No such file"),
    ],
)  # fmt: skip
def test_faulty_text_is_named(
    write: Write, capsys: pytest.CaptureFixture[str], file: str, content: bytes | None, message: str
) -> None:
    config = write()
    Path(file).unlink()
    if content is not None:
        Path(file).write_bytes(content)
    assert message in failure(capsys, config)
    assert not Path("bin").exists()


def test_empty_corpora_are_named(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    config = write()
    for name in ("train.en", "train.de"):
        Path(name).write_text("")
    assert "train.en and train.de: must hold sentence pairs, are empty" in failure(capsys, config)
    for name in ("train.en", "train.de"):
        Path(name).write_text("\n\n")
    assert "BPE cannot be learnt: the training text has no word" in failure(capsys, config)
    assert "no training pair is left for the vocabulary" in failure(capsys, write(tokenizer={"kind": "whitespace"}))


def test_all_pairs_dropped_with_given_files(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    run(write(), "output=first")
    given = {"source": "first/tokenizer/source/dict.txt", "target": "first/tokenizer/source/dict.txt"}
    config = write(tokenizer={"kind": "whitespace"}, vocabulary=given)
    assert "train.en: no pair is left for train (20 too_long)" in failure(capsys, config, "max_tokens=1")
    Path("other.txt").write_text("x 1\n")
    message = failure(capsys, config, "vocabulary.target=other.txt")
    assert "a joint vocabulary must have the same symbols on both sides" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tokenizer.merges=null"], "tokenizer: kind: bpe needs either merges (to learn) or codes (files)"),
        (["tokenizer.codes=x"], "tokenizer: kind: bpe needs either merges (to learn) or codes (files)"),
        (["tokenizer.vocab_size=100"], "tokenizer: vocab_size is no setting of kind: bpe; remove it"),
        (["tokenizer={kind: sentencepiece, vocab_size: 99, pretokenize: moses}"], "pretokenize is no setting of kind"),
        (["tokenizer.kind=wordpiece"], "tokenizer.kind: must be 'whitespace', 'bpe' or 'sentencepiece'"),
        (["train.source=[train.en, dev.en]"], "source and target must list equally many files, list 2 and 1"),
        (["train.source=[]", "train.target=[]"], "train.source: "),
        (["vocabulary.source=x"], "vocabulary: source and target must be given together"),
        (["vocabulary.max_size=4"], "vocabulary.max_size: must be"),
        (["test={train: {source: dev.en, target: dev.de}}"], "a name must be letters, digits, _ or -, and not"),
        (["test={'../x': {source: dev.en, target: dev.de}}"], "a name must be letters, digits, _ or -"),
        (["min_tokens=9", "max_tokens=8"], "max_tokens must be at least min_tokens = 9, is 8"),
        (["workers=0"], "workers: must be"),
        (["max_length_ratio=nan"], "max_length_ratio: "),
        (["outptu=x"], "outptu: no such setting. Did you mean 'output'?"),
        (["tokenizer={kind: sentencepiece, vocab_size: 9999}"], "sentencepiece cannot learn 9999 pieces: Vocab"),
        (["tokenizer={kind: sentencepiece, model: train.en}"], "train.en: must be a sentencepiece model"),
        (["tokenizer={kind: bpe, codes: train.en}"], "train.en, line 1: must be two symbols"),
        (["vocabulary={source: train.en, target: train.en}"], "train.en, line 1: must be 'symbol count'"),
    ],
)  # fmt: skip
def test_impossible_settings_are_named(
    write: Write, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    assert message in failure(capsys, write(), *overrides)


def test_every_line_reaches_a_chunk(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("".join(f"{name}{number}\n" for number in range(10)))
    paths = str(tmp_path / "a"), str(tmp_path / "b")
    for size in (1, 3, 5, 10, 11):
        chunks = list(parallel_chunks(paths[:1], paths[1:], size))
        assert [pair for chunk in chunks for pair in chunk.pairs()] == [(n + 1, f"a{n}", f"b{n}") for n in range(10)]


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    text = "one\u2028still one\x0cand\x1cand\n\ntwo"
    (tmp_path / "a").write_text(text, encoding="utf-8")
    assert read_lines(tmp_path / "a") == ["one\u2028still one\x0cand\x1cand", "", "two"]
    assert single_line("one\u2028still one\x0cx").splitlines() == ["one still one x"]


def test_fingerprint_sees_changes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456789")
    assert fingerprint(tmp_path / "a") == {"bytes": 9, "crc32": 0xCBF43926}  # the check value of CRC-32


def test_workers_keep_the_order_and_take_few_items_ahead() -> None:
    taken = 0

    def items() -> Any:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield -number

    with Workers(2) as workers:
        results = workers.map(abs, items())
        assert next(results) == 0
        assert taken <= 8, "items in flight must be bounded"
        assert list(results) == list(range(1, 40))


def test_multi30k_config_names_the_files_that_exist(shared: Path) -> None:
    config = load_config(PrepareConfig, Path(__file__).parents[2] / "configs/multi30k/prepare.yaml")
    texts = [config.train, config.valid, *config.test.values()]
    names = [Path(name).name for text in texts for name in (*text.source, *text.target)]
    assert len(names) == 8
    assert all((shared / "data/multi30k/tok" / name).is_file() for name in names)
    assert (config.tokenizer.merges, config.tokenizer.joint, config.vocabulary.joint) == (10000, True, True)
