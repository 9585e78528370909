import json
from pathlib import Path

import numpy as np
import pytest

from hat.artifacts import write_json
from hat.data.batch import collate
from hat.data.corpus import CorpusMeta, NpyWriter, ParallelCorpus, Sentences, SentenceWriter, SplitMeta, id_type
from hat.errors import DataError

ROWS = [[5, 6, 2], [7, 2], [5, 5, 5, 5, 2], [9, 2]]
TARGETS = [[5, 2], [7, 8, 2], [6, 2], [8, 8, 8, 2]]


def write_corpus(folder: Path, vocab_size: int = 10) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for side, rows in (("source", ROWS), ("target", TARGETS)):
        with SentenceWriter(folder, f"train.{side}", vocab_size) as writer:
            for row in rows:  # one at a time: streamed
                writer.append(row, [len(row)])
    split = SplitMeta(rows=4, source_tokens=12, target_tokens=11)
    meta = CorpusMeta(
        source_language="en", target_language="de", source_vocab_size=vocab_size, target_vocab_size=vocab_size,
        joint_vocabulary=True, splits={"train": split},
    )  # fmt: skip
    write_json(folder / "meta.json", meta.model_dump())
    return folder


@pytest.mark.parametrize("dtype", ["<u2", "<i4", "<i8"])
@pytest.mark.parametrize("size", [0, 1, 10, 12345])
def test_streamed_file_equals_np_save(tmp_path: Path, dtype: str, size: int) -> None:
    values = (np.arange(size) * 7919 % 60000).astype(dtype)
    np.save(tmp_path / "whole.npy", values)
    with NpyWriter(tmp_path / "parts.npy", np.dtype(dtype)) as writer:
        for start in range(0, size, 1000):
            writer.append(values[start : start + 1000])
    assert (tmp_path / "parts.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_values_beyond_the_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit uint16"), NpyWriter(tmp_path / "x.npy", np.dtype("<u2")) as writer:
        writer.append([1, 65536])


def test_ids_take_two_bytes_when_the_vocabulary_fits() -> None:
    assert id_type(65536) == np.dtype("<u2")
    assert id_type(65537) == np.dtype("<i4")


@pytest.mark.parametrize("vocab_size", [10, 70000])
def test_corpus_round_trip(tmp_path: Path, vocab_size: int) -> None:
    corpus = ParallelCorpus.load(write_corpus(tmp_path, vocab_size), "train")
    assert len(corpus) == 4
    assert [corpus.source(row).tolist() for row in range(4)] == ROWS
    assert [corpus.target(row).tolist() for row in range(4)] == TARGETS
    assert corpus.source_lengths(0, 4).tolist() == [3, 2, 5, 2]
    assert corpus.target_lengths(1, 3).tolist() == [3, 2]
    assert isinstance(corpus.source_sentences.ids, np.memmap)
    assert (corpus.source_vocab_size, corpus.target_vocab_size) == (vocab_size, vocab_size)


def test_unknown_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no split 'trian'\. Did you mean 'train'"):
        ParallelCorpus.load(write_corpus(tmp_path), "trian")


def test_folder_without_meta(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; the meta\.json of a data-bin folder \(made by hat-prepare\)"):
        ParallelCorpus.load(tmp_path, "train")


@pytest.mark.parametrize("name", ["train.source.ids", "train.target.ids", "train.source.offsets"])
@pytest.mark.parametrize("keep", [0, 5, 100, 130, -1])
def test_truncated_files_are_named(tmp_path: Path, name: str, keep: int) -> None:
    path = write_corpus(tmp_path) / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{name}\.npy: damaged or truncated .*make the data-bin folder again"):
        ParallelCorpus.load(tmp_path, "train")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(11, "<u2"), r"must hold 12 values of type uint16, holds \(11,\) of type uint16"),
        (np.zeros(12, "<i4"), r"must hold 12 values of type uint16, holds \(12,\) of type int32"),
        (np.zeros((3, 4), "<u2"), r"holds \(3, 4\)"),
        (np.array([None] * 12), "damaged or truncated"),  # objects would need pickle
    ],
)
def test_files_of_another_corpus_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(write_corpus(tmp_path) / "train.source.ids.npy", array)
    with pytest.raises(DataError, match=message):
        ParallelCorpus.load(tmp_path, "train")


def test_missing_and_zipped_arrays_are_refused(tmp_path: Path) -> None:
    path = write_corpus(tmp_path) / "train.source.ids.npy"
    path.unlink()
    with pytest.raises(DataError, match=r"no such file, though meta\.json lists it"):
        ParallelCorpus.load(tmp_path, "train")
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(12))
    with pytest.raises(DataError, match="several arrays"):
        ParallelCorpus.load(tmp_path, "train")


@pytest.mark.parametrize("offsets", [[0, 3, 5, 10, 11], [1, 3, 5, 10, 12], [0, 5, 3, 10, 12], [0, 3, 3, 10, 12]])
def test_offsets_must_rise_to_the_end(tmp_path: Path, offsets: list[int]) -> None:
    np.save(write_corpus(tmp_path) / "train.source.offsets.npy", np.array(offsets, "<i8"))
    with pytest.raises(DataError, match=r"offsets\.npy: must rise from 0 to 12, does not"):
        ParallelCorpus.load(tmp_path, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "hat.data-bin/2"}, "format: must be 'hat.data-bin/1'"),
        ({"splits": {"train": {"rows": 0, "source_tokens": 1, "target_tokens": 1}}}, "splits.train.rows: must be"),
        ({"source_vocab_size": "many"}, "source_vocab_size: must be a"),
        ({"extra": 1}, "extra: no such setting"),
    ],
)
def test_damaged_meta_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = write_corpus(tmp_path) / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"meta\.json") as error:
        ParallelCorpus.load(tmp_path, "train")
    assert message in str(error.value)


def test_sides_must_match() -> None:
    one, two = Sentences(np.array([2]), np.array([0, 1])), Sentences(np.array([2, 2]), np.array([0, 1, 2]))
    with pytest.raises(DataError, match="both sides must have as many sentences, have 1 and 2"):
        ParallelCorpus(one, two, 10, 10)


def test_batch_is_padded_on_the_right_and_shifted(tmp_path: Path) -> None:
    batch = collate(ParallelCorpus.load(write_corpus(tmp_path), "train"), [2, 1])
    assert batch.source.tolist() == [[5, 5, 5, 5, 2], [7, 2, 1, 1, 1]]
    assert batch.target_out.tolist() == [[6, 2, 1], [7, 8, 2]]
    assert batch.target_in.tolist() == [[2, 6, 1], [2, 7, 8]]
    assert (batch.num_target_tokens, batch.num_sentences) == (5, 2)
    assert {str(tensor.dtype) for tensor in (batch.source, batch.target_in, batch.target_out)} == {"torch.int64"}


def test_ids_beyond_the_vocabulary_are_refused() -> None:
    sentences = Sentences(np.array([11, 2]), np.array([0, 2]))
    with pytest.raises(DataError, match="ids must be below the vocabulary's size 10, one is 11"):
        collate(ParallelCorpus(sentences, sentences, 10, 10), [0])
