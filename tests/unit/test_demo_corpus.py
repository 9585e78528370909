"""The demo corpus: what the grammar says, what the committed files hold, and that one makes the other."""

import gzip
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data" / "demo"
SIZES = {"train": 20000, "valid": 500, "test": 500}


@pytest.fixture(scope="module")
def scripts() -> Path:
    folder = ROOT / "scripts"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return folder


def read(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def corpus() -> dict[str, tuple[list[str], list[str]]]:
    return {split: (read(DEMO / f"{split}.de.gz"), read(DEMO / f"{split}.en.gz")) for split in SIZES}


def test_the_script_makes_the_committed_files(tmp_path: Path, scripts: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(scripts / "make_demo_corpus.py"), "--output", str(tmp_path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert result.stdout.strip() == str(tmp_path)
    names = sorted(path.name for path in DEMO.iterdir())
    assert names == sorted(f"{split}.{language}.gz" for split in SIZES for language in ("de", "en"))
    for name in names:
        made, committed = (tmp_path / name).read_bytes(), (DEMO / name).read_bytes()
        # Compressed bytes depend on the zlib of the machine; the text and the header must not.
        assert gzip.decompress(made) == gzip.decompress(committed), name
        assert made[:10] == committed[:10]
        assert committed[3:8] == b"\0\0\0\0\0", "the header must hold no name and no time"


def test_sizes_and_lines(corpus: dict[str, tuple[list[str], list[str]]]) -> None:
    for split, size in SIZES.items():
        german, english = corpus[split]
        assert len(german) == len(english) == size
        for line in (*german, *english):
            assert line == " ".join(line.split()) and line[0].isupper()
            assert line.endswith((" .", " ?"))
        assert all(source[-1] == target[-1] for source, target in zip(german, english, strict=True))
        mean_tokens = sum(len(line.split()) for line in english) / size
        assert 8 <= mean_tokens <= 12
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 700_000


def test_no_sentence_of_one_split_is_in_another(corpus: dict[str, tuple[list[str], list[str]]]) -> None:
    sources = [line for split in SIZES for line in corpus[split][0]]
    assert len(set(sources)) == len(sources)


def test_copying_scores_nothing(corpus: dict[str, tuple[list[str], list[str]]]) -> None:
    german, english = corpus["test"]
    assert sacrebleu.corpus_bleu(german, [english], tokenize="none", force=True).score < 1


def test_word_by_word_translation_is_not_enough(corpus: dict[str, tuple[list[str], list[str]]]) -> None:
    """The most frequent English word for every German one, by co-occurrence: far below what a model learns."""
    german, english = corpus["train"]
    together: dict[str, Counter[str]] = {}
    alone: Counter[str] = Counter()
    for source, target in zip(german[:10000], english[:10000], strict=True):
        words = set(target.split())
        alone.update(words)
        for word in set(source.split()):
            together.setdefault(word, Counter()).update(words)
    best = {word: max(counts, key=lambda other: counts[other] ** 2 / alone[other]) for word, counts in together.items()}
    source, target = corpus["test"]
    lines = [" ".join(best.get(word, word) for word in line.split()) for line in source]
    assert 1 < sacrebleu.corpus_bleu(lines, [target], tokenize="none", force=True).score < 35


def test_vocabulary_is_open(corpus: dict[str, tuple[list[str], list[str]]]) -> None:
    """Some words of the test set never occur in training (names, compounds, numbers), but not many."""
    known = {word for line in corpus["train"][0] for word in line.split()}
    words = [word for line in corpus["test"][0] for word in line.split()]
    unseen = sum(word not in known for word in words) / len(words)
    assert 0.005 < unseen < 0.05


READ = [
    # the castle is left, the lock is opened
    ("Wir haben das Schloss verlassen .", "We have left the castle ."),
    ("Um 23 Uhr machte der Lehrer ein schweres Schloss auf .", "The teacher opened a heavy lock at 23 o'clock ."),
    # the accusative moves: into; the dative stays: in
    ("Ist eine Lehrerin in den schwarzen Garten gekommen ?", "Has a teacher come into the black garden ?"),
    # sie and ihr by the verb's number
    ("Sie holen ihren Mann ab .", "They fetch their man ."),
    ("Sie hat ihren Kuchen gegessen .", "She has eaten her cake ."),
    # object first, relative clause, purpose, question without and with a question word
    ("Den Wasservogel wird ein Arzt aussuchen .", "A doctor will choose the water bird ."),
    ("Der Dieb , den die Hausfrau gesucht hat , wird aufstehen .",
     "The thief whom the house woman has looked for will get up ."),
    ("Sie kommen aus dem schönen Haus zurück , um Drubreza abzuholen .",
     "They come back out of the beautiful house in order to fetch Drubreza ."),
    ("Werdet ihr deinem Leiter keinen langsamen Vogel zeigen ?", "Will you not show your leader a slow bird ?"),
    ("Wem folgt ein Leiter heute ?", "Whom does a leader follow today ?"),
    ("Das Kind wird in siebenundvierzig Tagen das Schloss nicht bauen .",
     "The child will not build the castle in forty-seven days ."),
]  # fmt: skip

HAND_CHECKED = [
    # verb second with a fronted time, separable verb, adjective after der and ein
    ("statement", "time", {}, "Gestern machte der Mann die alte Tür auf .", "The man opened the old door yesterday ."),
    # a point in time turns the perfect into the simple past
    ("statement", None, {"tense": "perfect"}, "Der Mann hat gestern die alte Tür aufgemacht .",
     "The man opened the old door yesterday ."),
    ("statement", None, {"tense": "perfect", "time": False}, "Der Mann hat die alte Tür aufgemacht .",
     "The man has opened the old door ."),
    ("statement", "object", {"tense": "present", "time": False}, "Die alte Tür macht der Mann auf .",
     "The man opens the old door ."),
    ("statement", None, {"tense": "present", "time": False, "negated": True}, "Der Mann macht die alte Tür nicht auf .",
     "The man does not open the old door ."),
    ("statement", None, {"tense": "present", "time": False, "negated": True, "modal": "müssen"},
     "Der Mann muss die alte Tür nicht aufmachen .", "The man does not have to open the old door ."),
    ("statement", None, {"modal": "können"}, "Der Mann konnte gestern die alte Tür aufmachen .",
     "The man could open the old door yesterday ."),
    ("question", None, {"negated": True}, "Machte der Mann gestern die alte Tür nicht auf ?",
     "Did the man not open the old door yesterday ?"),
    ("final", None, {}, "Der Mann gestern die alte Tür aufmachte .", "The man opened the old door yesterday ."),
    ("zu", None, {"time": False}, "Die alte Tür aufzumachen .", "Open the old door ."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "front", "changes", "german", "english"), HAND_CHECKED)
def test_hand_checked_clauses(
    kind: str, front: str | None, changes: dict[str, Any], german: str, english: str, scripts: Path
) -> None:
    from demo_clause import Clause, NounPhrase, Part, sentence
    from demo_lexicon import VERBS

    man = NounPhrase({"nom": "der Mann"}, "the man", "m", 2, marked=True)
    door = NounPhrase({"acc": "die alte Tür"}, "the old door", "f", 2, marked=False)
    parts = [Part("object", "die alte Tür", "the old door", door)]
    if changes.get("time", True):
        parts.insert(0, Part("time", "gestern", "yesterday"))
    verb = next(verb for verb in VERBS if verb.prefix + verb.infinitive == "aufmachen")
    options = {"tense": "past"} | {key: value for key, value in changes.items() if key != "time"}
    clause = Clause(man, verb, parts=parts, **options)
    said = {
        "statement": lambda: (clause.german_main(front), clause.english()),
        "question": lambda: (clause.german_question(), clause.english_question()),
        "final": lambda: (clause.german_final(), clause.english()),
        "zu": lambda: (clause.german_zu(), clause.english_infinitive()),
    }[kind]()
    assert (sentence(said[0], german[-1]), sentence(said[1], german[-1])) == (german, english)


@pytest.mark.parametrize(
    ("word", "person", "present", "past"),
    [
        ("sehen", 0, "sehe", "sah"), ("sehen", 1, "siehst", "sahst"), ("sehen", 4, "seht", "saht"),
        ("lesen", 1, "liest", "last"), ("finden", 4, "findet", "fandet"), ("finden", 1, "findest", "fandest"),
        ("arbeiten", 0, "arbeite", "arbeitete"), ("arbeiten", 4, "arbeitet", "arbeitetet"),
        ("essen", 1, "isst", "aßt"), ("verlassen", 1, "verlässt", "verließt"), ("kaufen", 5, "kaufen", "kauften"),
    ],
)  # fmt: skip
def test_german_verb_forms(word: str, person: int, present: str, past: str, scripts: Path) -> None:
    import demo_inflection
    from demo_lexicon import VERBS

    verb = next(verb for verb in VERBS if verb.prefix + verb.infinitive == word)
    assert (demo_inflection.present(verb, person), demo_inflection.preterite(verb, person)) == (present, past)


def test_other_forms(scripts: Path) -> None:
    from demo_inflection import article, ein_word, indefinite_article, inflect_adjective, number, third_singular

    assert [article(case, "m") for case in ("nom", "acc", "dat")] == ["der", "den", "dem"]
    assert [ein_word("kein", case, "n") for case in ("nom", "acc", "dat")] == ["kein", "kein", "keinem"]
    assert [ein_word("euer", "nom", gender) for gender in "mfnp"] == ["euer", "eure", "euer", "eure"]
    assert inflect_adjective("müde", "ein", "nom", "m") == "müder"
    assert inflect_adjective("alt", "definite", "dat", "p") == "alten"
    assert (number(7), number(30), number(43)) == (
        ("sieben", "seven"), ("dreißig", "thirty"), ("dreiundvierzig", "forty-three"),
    )  # fmt: skip
    assert number(51) == ("einundfünfzig", "fifty-one")
    assert [third_singular(word) for word in ("go", "carry", "buy", "wash", "see")] == [
        "goes", "carries", "buys", "washes", "sees",
    ]  # fmt: skip
    assert [indefinite_article(word) for word in ("old", "honest", "house", "man")] == ["an", "an", "a", "a"]


def test_committed_pairs_that_were_read_by_people(corpus: dict[str, tuple[list[str], list[str]]]) -> None:
    pairs = {pair for split in SIZES for pair in zip(*corpus[split], strict=True)}
    assert set(READ) <= pairs


def test_a_source_never_has_two_translations(scripts: Path) -> None:
    """Short sentences, where chance repeats many of them."""
    from demo_grammar import Grammar

    grammar, seen, repeated = Grammar(99), {}, 0
    for _ in range(20000):
        source, target = grammar.pair()
        repeated += source in seen
        assert seen.setdefault(source, target) == target, source
    assert repeated > 80


def test_another_seed_gives_another_corpus(scripts: Path) -> None:
    from make_demo_corpus import make_pairs

    assert make_pairs(1, 50) == make_pairs(1, 50)
    assert make_pairs(1, 50) != make_pairs(2, 50)
    state = random.getstate()
    make_pairs(3, 20)
    assert random.getstate() == state, "the global generator is not touched"
