"""What is timed: shapes, cases, and the groups of configurations that are timed in turn. No torch."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hat.space import Architecture

Kind = Literal["decoding", "training", "scoring"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a Transformer whose layers are all alike; source, target and output share one vocabulary."""

    width: int = 512
    ffn: int = 2048
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    vocabulary: int = 32_000
    qkv: int | None = None
    """Width of queries, keys and values; None for that of the stacks. Peers other than ``plain`` know no other."""
    attended: int = 1
    """Encoder layers that cross-attention sees; likewise."""

    def architecture(self) -> Architecture:
        """The same as a value of hat."""
        layer = {"ffn_dim": self.ffn, "self_attn_heads": self.heads}
        attention = {"cross_attn_heads": self.heads, "attended_encoder_layers": self.attended}
        return Architecture.model_validate(
            {
                "qkv_dim": self.qkv or self.width,
                "encoder": {"embed_dim": self.width, "layers": [layer] * self.encoder_layers},
                "decoder": {"embed_dim": self.width, "layers": [{**layer, **attention}] * self.decoder_layers},
            }
        )


@dataclass(frozen=True)
class Case:
    """One amount of work, the same for every peer."""

    name: str
    kind: Kind
    shape: Shape = Shape()
    sentences: int = 1
    """In the batch."""
    length: int = 30
    """Tokens of source and target, end symbols included: as many decoder steps."""
    beam: int = 4
    shortlist: int | None = None
    """Target tokens that are scored; None for all. Only ``hat`` and ``limit`` know anything else."""
    network: Literal["plain", "largest", "smallest", "sampled", "extracted"] = "plain"
    """A Transformer of this shape, a SubTransformer inside the SuperTransformer of the IWSLT space, or the largest one
    extracted from it."""


@dataclass(frozen=True)
class Configuration:
    """One process: a case, who does it, with which precision and how many threads."""

    case: Case
    peer: str
    variant: str
    threads: int

    @property
    def name(self) -> str:
        """For people, and for ``--only``."""
        return f"{self.case.name} | {self.peer} {self.variant} | threads {self.threads}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Configuration":
        """What :meth:`to_dict` wrote."""
        case = dict(values["case"])
        return cls(**{**values, "case": Case(**{**case, "shape": Shape(**case["shape"])})})


@dataclass(frozen=True)
class Group:
    """Configurations that are compared with each other, and so timed in turn."""

    title: str
    configurations: tuple[Configuration, ...]
    sweep: str | None = None
    """Of what the cases differ, where they show how cost grows; the last word of a case's name is the value."""
    quick: bool = False
    """Whether ``--quick`` times it."""


Rows = tuple[tuple[str, str], ...]
"""Peers with what varies in them: the type of the products, or how a peer is set."""

LIMITS: Rows = (("limit", "float32"), ("limit", "bfloat16"), ("limit", "int8"))
HAT: Rows = (("hat", "float32"), ("hat", "bfloat16"), ("hat", "int8"))
CT2: Rows = (("CTranslate2", "float32"), ("CTranslate2", "int8"), ("CTranslate2", "int8 AVX-512"))
DECODERS: Rows = (*HAT, *CT2, ("transformers", "float32"), ("plain", "float32"), ("fairseq", "float32"), *LIMITS)
HAT_TRAINS: Rows = (("hat", "float32"),)
TRAINERS: dict[str, Rows] = {
    "training": (*HAT_TRAINS, *((peer, "float32") for peer in ("plain", "fairseq", "JoeyNMT", "limit"))),
    "training, medium": (*HAT_TRAINS, *((peer, "medium") for peer in ("plain", "fairseq", "JoeyNMT"))),
    "training, bfloat16": tuple((peer, "bfloat16") for peer in ("hat", "plain", "limit")),
}
"""Groups of few, on two threads: a process that trains takes up to four gigabytes."""
OWN: Rows = (("hat", "float32"), ("plain", "float32"), ("limit", "float32"))

TINY = Shape(width=128, ffn=256, heads=4, encoder_layers=4, decoder_layers=4, vocabulary=9_700)
WMT_LARGEST = Shape(width=640, ffn=3072, heads=8, qkv=512, attended=3)
WMT_SMALLEST = Shape(ffn=1024, heads=4, decoder_layers=1)
IWSLT = Shape(ffn=1024, heads=4, vocabulary=10_000)
"""Of the training case; SubTransformers of the IWSLT space have the vocabulary only."""


def groups() -> list[Group]:
    """All that ``make bench`` times."""
    return [*_decoding(), *_training(), *_sweeps()]


def _decoding() -> list[Group]:
    base = [
        _group(Case(f"base, decoder layers {n}", "decoding", Shape(decoder_layers=n)), DECODERS, quick=n == 1)
        for n in (1, 3, 6)
    ]
    return [
        *base,
        _group(Case("base, batch 32", "decoding", sentences=32), DECODERS),
        _group(Case("base, shortlist of 1,000", "decoding", shortlist=1_000), (*HAT, *LIMITS)),
        _group(Case("tiny, greedy", "decoding", TINY, beam=1), DECODERS),
        _group(Case("tiny, beam 5", "decoding", TINY, beam=5), DECODERS, quick=True),
        _group(Case("largest WMT network", "decoding", WMT_LARGEST), (*HAT, ("plain", "float32"), *LIMITS)),
        _group(Case("smallest WMT network", "decoding", WMT_SMALLEST), (*HAT, ("plain", "float32"), *LIMITS)),
    ]


def _training() -> list[Group]:
    train = Case("training", "training", IWSLT, sentences=178, length=23)
    score = Case("scoring, sampled", "scoring", IWSLT, sentences=1014, length=15, network="sampled")
    largest = replace(train, name="SuperTransformer, largest step", network="largest")
    alone = replace(train, name="its largest as a Transformer", network="extracted")
    sampled = replace(train, name="SuperTransformer, sampled step", network="sampled")
    scores = [replace(score, name=f"scoring, {network}", network=network) for network in ("largest", "smallest")]
    in_space = {
        "largest step": tuple((case, *row) for case in (largest, alone) for row in (("hat", "float32"), LIMITS[0])),
        "sampled step": tuple((sampled, *row) for row in (*OWN, ("hat", "bfloat16"))),
    }
    return [
        *(_group(replace(train, name=name), rows, threads=(2,)) for name, rows in TRAINERS.items()),
        *(
            Group(f"SuperTransformer, {what}", tuple(Configuration(*row, 2) for row in timed))
            for what, timed in in_space.items()
        ),
        _group(score, (*OWN, ("hat", "bfloat16")), threads=(2,)),
        *(_group(case, OWN, threads=(2,)) for case in scores),
    ]


def _sweeps() -> list[Group]:
    base = Shape(decoder_layers=3)
    varied: dict[str, list[Case]] = {
        "decoder layers": [_swept("layers", n, replace(base, decoder_layers=n)) for n in (1, 2, 3, 4, 5, 6)],
        "width": [
            _swept("width", n, replace(base, width=n, ffn=4 * n, heads=n // 64)) for n in (128, 256, 512, 768, 1024)
        ],
        "vocabulary": [_swept("vocabulary", n, replace(base, vocabulary=n)) for n in (2_000, 8_000, 32_000, 64_000)],
        "beam": [_swept("beam", n, base, beam=n) for n in (1, 2, 4, 8)],
        "sentences in a batch": [_swept("batch", n, base, sentences=n) for n in (1, 4, 16, 64)],
    }
    swept = [
        Group(f"cost by {what}", tuple(Configuration(case, *row, 2) for case in cases for row in HAT), sweep=what)
        for what, cases in varied.items()
    ]
    threads = tuple(Configuration(_swept("threads", n, base), *row, n) for n in (1, 2, 4, 8) for row in HAT)
    return [*swept, Group("cost by threads", threads, sweep="threads")]


def _swept(what: str, value: int, shape: Shape, sentences: int = 1, beam: int = 4) -> Case:
    return Case(f"sweep of {what} {value}", "decoding", shape, sentences=sentences, beam=beam)


def _group(case: Case, rows: Rows, threads: tuple[int, ...] = (1, 2), quick: bool = False) -> Group:
    return Group(case.name, tuple(Configuration(case, *row, n) for row in rows for n in threads), quick=quick)
