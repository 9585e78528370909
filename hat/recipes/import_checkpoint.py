"""A checkpoint of the authors' program → a model folder of ours."""

import logging
from pathlib import Path

from hat.artifacts import RunFolder, file_digest, read_text
from hat.config import Section
from hat.data.codec import TextCodec
from hat.data.tokenizer import BPE_MARK, BpeTokenizer, Tokenizer, TokenizerSettings, WhitespaceTokenizer
from hat.data.vocabulary import Vocabulary
from hat.errors import ConfigError, DataError
from hat.importing.architecture import read_subtransformer
from hat.importing.checkpoint import read_checkpoint
from hat.nn import SuperTransformer, Transformer
from hat.nn.files import TOKENIZER_FOLDER

logger = logging.getLogger(__name__)


class ImportRecord(Section):
    """What a model folder says of the files that it was made from."""

    checkpoint: Path
    dictionaries: tuple[Path, Path] | None
    subtransformer: Path | None
    bpe_codes: Path | None


def import_checkpoint(
    checkpoint: Path,
    output: Path,
    dictionaries: tuple[Path, Path] | None,
    subtransformer: Path | None = None,
    bpe_codes: Path | None = None,
) -> Path:
    """Write a model folder with the weights of a checkpoint.

    Args:
        checkpoint: a file that the authors' program saved; nothing in it is executed.
        output: the folder, which must not hold a model yet.
        dictionaries: ``dict.txt`` of source and target, kept in ``tokenizer/``; None leaves that folder out.
        subtransformer: YAML of the SubTransformer to extract; None keeps the whole SuperTransformer.
        bpe_codes: subword-nmt codes that split text for this model; None for text that is split already.

    Returns:
        ``output``.

    Raises:
        ConfigError: if ``output`` holds a model, or the SubTransformer does not fit.
        DataError: if a file is missing, damaged, or the dictionaries are not those of the checkpoint.
    """
    if (output / "config.json").exists():
        raise ConfigError(f"{output}: must not hold a model yet, does; choose another folder or remove it first.")
    codec = None if dictionaries is None else _codec(dictionaries, bpe_codes)
    model = read_checkpoint(checkpoint)
    if codec is not None and dictionaries is not None:
        _check_vocabularies(model, codec, checkpoint, dictionaries)
    made = model if subtransformer is None else _extract(model, subtransformer)
    record = ImportRecord(
        checkpoint=checkpoint, dictionaries=dictionaries, subtransformer=subtransformer, bpe_codes=bpe_codes
    )
    run = RunFolder(output, record, "hat-import")  # before anything is written: it may be another command's folder
    if codec is not None:
        codec.save(output / TOKENIZER_FOLDER)
        made.tokenizer_folder = output / TOKENIZER_FOLDER
    made.save_pretrained(output)
    run.finish(checkpoint_digest=file_digest(checkpoint))
    parameters = sum(parameter.numel() for parameter in made.parameters())
    logger.info(f"{checkpoint}: {type(made).__name__} with {parameters} parameters")
    return output


def _extract(model: SuperTransformer, path: Path) -> Transformer:
    architecture = read_subtransformer(path, model.sizes.qkv_dim)
    try:
        return model.extract(architecture)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _codec(dictionaries: tuple[Path, Path], bpe_codes: Path | None) -> TextCodec:
    source, target = (Vocabulary.load(path) for path in dictionaries)
    return TextCodec(_tokenizer(source, bpe_codes), source, _tokenizer(target, bpe_codes), target)


def _tokenizer(vocabulary: Vocabulary, bpe_codes: Path | None) -> Tokenizer:
    if bpe_codes is not None:
        return BpeTokenizer(read_text(bpe_codes, "BPE codes"), TokenizerSettings(kind="bpe"), where=str(bpe_codes))
    subwords = any(symbol.endswith(BPE_MARK) for symbol in vocabulary.decode(range(len(vocabulary))))
    return WhitespaceTokenizer(TokenizerSettings(kind="whitespace", bpe_marks=subwords))


def _check_vocabularies(
    model: SuperTransformer, codec: TextCodec, checkpoint: Path, dictionaries: tuple[Path, Path]
) -> None:
    sides = (
        (dictionaries[0], codec.source_vocabulary, model.source_vocab_size, "source"),
        (dictionaries[1], codec.target_vocabulary, model.target_vocab_size, "target"),
    )
    for path, vocabulary, rows, side in sides:
        if len(vocabulary) != rows:
            raise DataError(
                f"{path}: must have {rows} symbols, the four special ones included, as the {side} embeddings of "
                f"{checkpoint} do, has {len(vocabulary)}; is this the dictionary it was trained with?"
            )
    if model.options.share_embeddings == "all" and not codec.joint_vocabulary:
        raise DataError(
            f"{dictionaries[1]}: must be the same as {dictionaries[0]}, because {checkpoint} has one embedding "
            "matrix for both sides; it is not."
        )
