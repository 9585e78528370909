"""How the demo language inflects: German determiners, adjectives, nouns and verbs, and their English counterparts.

Genders are ``m``, ``f``, ``n``; plural is a gender of its own, ``p``, as in German declension tables. Persons are
numbered 0 to 5: ich, du, er/sie/es, wir, ihr, sie.
"""

from demo_lexicon import IRREGULAR, TENS, UNITS, Verb

CASES = ("nom", "acc", "dat")
GENDERS = "mfnp"

_DEFINITE = {"nom": "der die das die", "acc": "den die das die", "dat": "dem der dem den"}
_STRONG = {"nom": "er e es e", "acc": "en e es e", "dat": "em er em en"}
_AFTER_DEFINITE = {"nom": "e e e en", "acc": "en e e en", "dat": "en en en en"}
_AFTER_EIN = {"nom": "er e es en", "acc": "en e es en", "dat": "en en en en"}
_RELATIVE = {"nom": "der die das die", "acc": "den die das die", "dat": "dem der dem denen"}


def _cell(table: dict[str, str], case: str, gender: str) -> str:
    return table[case].split()[GENDERS.index(gender)]


def article(case: str, gender: str) -> str:
    """The definite article."""
    return _cell(_DEFINITE, case, gender)


def relative_pronoun(case: str, gender: str) -> str:
    """The relative pronoun, which agrees with its head in gender and has the case of its own clause."""
    return _cell(_RELATIVE, case, gender)


def strong(stem: str, case: str, gender: str) -> str:
    """A determiner that inflects as the article does: dieser, jeder, alle."""
    return stem + _cell(_STRONG, case, gender)


def ein_word(stem: str, case: str, gender: str) -> str:
    """A determiner that inflects as ``ein`` does: without an ending in ein Mann and ein Kind."""
    bare = (gender == "n" and case != "dat") or (gender == "m" and case == "nom")
    if stem == "euer":  # eu(e)re, but euer
        return stem if bare else "eur" + _cell(_STRONG, case, gender)
    return stem if bare else stem + _cell(_STRONG, case, gender)


def inflect_adjective(adjective: str, kind: str, case: str, gender: str) -> str:
    """An adjective before a noun, after a ``definite``-like determiner, an ``ein``-like one, or ``none``."""
    table = {"definite": _AFTER_DEFINITE, "ein": _AFTER_EIN, "none": _STRONG}[kind]
    return adjective.removesuffix("e") + _cell(table, case, gender)


def dative_plural(plural: str) -> str:
    """The plural in the dative: ``-n`` unless it ends in n or s already."""
    return plural if plural[-1] in "ns" else plural + "n"


def present(verb: Verb | str, person: int) -> str:
    """The finite present form, without a separable prefix."""
    if isinstance(verb, str):
        return IRREGULAR[verb][0].split()[person]
    stem = verb.infinitive.removesuffix("en")
    if person in (3, 5):
        return verb.infinitive
    if person == 0:
        return stem + "e"
    if person == 2:
        return verb.third
    if person == 4:
        return stem + ("et" if stem[-1] in "td" else "t")
    base = verb.third.removesuffix("t")
    return base + ("t" if base[-1] in "sßz" else "st")


def preterite(verb: Verb | str, person: int) -> str:
    """The finite past form, without a separable prefix."""
    past = IRREGULAR[verb][1] if isinstance(verb, str) else verb.preterite
    if person in (0, 2):
        return past
    if past.endswith("e"):
        return past + {1: "st", 3: "n", 4: "t", 5: "n"}[person]
    vowel = "e" if past[-1] in "td" else ""
    return past + {1: "t" if past[-1] in "sß" else vowel + "st", 3: "en", 4: vowel + "t", 5: "en"}[person]


def infinitive(verb: Verb, with_zu: bool = False) -> str:
    """The infinitive with its prefix, with ``zu`` before it or inside a separable verb: ``aufzumachen``."""
    if not with_zu:
        return verb.prefix + verb.infinitive
    return f"{verb.prefix}zu{verb.infinitive}" if verb.prefix else f"zu {verb.infinitive}"


def third_singular(base: str) -> str:
    """English ``-s``: goes, washes, carries."""
    if base.endswith(("s", "sh", "ch", "x", "o")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def be(person: int, past: bool = False) -> str:
    """The forms of ``be``."""
    if past:
        return "was" if person in (0, 2) else "were"
    return {0: "am", 2: "is"}.get(person, "are")


def indefinite_article(next_word: str) -> str:
    """``a`` or ``an`` by the sound of the next word."""
    return "an" if next_word[0].lower() in "aeiou" or next_word.startswith("honest") else "a"


def number(value: int) -> tuple[str, str]:
    """A number from 2 to 99 in words, for which German puts the units first: dreiundvierzig, forty-three."""
    tens, units = divmod(value, 10)
    if tens == 0:
        return UNITS[units]
    if units == 0:
        return TENS[tens]
    german = "ein" if units == 1 else UNITS[units][0]
    english = "one" if units == 1 else UNITS[units][1]
    return f"{german}und{TENS[tens][0]}", f"{TENS[tens][1]}-{english}"
