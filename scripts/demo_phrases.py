"""Draws the phrases of the demo language: names, pronouns, noun phrases, and phrases of time, place and manner.

Every choice comes from ``random.Random.random``, whose sequence Python keeps from version to version.
"""

import random
from collections.abc import Collection, Sequence
from typing import TypeVar

from demo_clause import NounPhrase, Part
from demo_inflection import (
    CASES,
    article,
    dative_plural,
    ein_word,
    indefinite_article,
    inflect_adjective,
    number,
    strong,
)  # fmt: skip
from demo_lexicon import ADJECTIVES, DAYS, MANNERS, MODIFIERS, NOUNS, TIMES, Noun

Item = TypeVar("Item")

_ONSETS = ("b", "br", "d", "dr", "fl", "kl", "l", "m", "n", "r", "s", "t", "tr", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("", "", "n", "r", "l", "s")

# nominative, accusative, dative; English subject and object; gender; person. No dot is ever said: as an object,
# ``sie`` would be her or them.
_PRONOUNS = (
    ("ich mich mir", "I me", "m", 0),
    ("du dich dir", "you you", "m", 1),
    ("er ihn ihm", "he him", "m", 2),
    ("sie . .", "she .", "f", 2),
    ("wir uns uns", "we us", "p", 3),
    ("ihr euch euch", "you you", "p", 4),
    ("sie . ihnen", "they them", "p", 5),
)
_POSSESSIVES = (("mein", "my"), ("dein", "your"), ("unser", "our"), ("euer", "your"))
_THIRD_POSSESSIVES = {"m": ("sein", "his"), "f": ("ihr", "her"), "n": ("sein", "its"), "p": ("ihr", "their")}
_SINGULAR = {"definite": 10.0, "ein": 4.0, "possessive": 2.0, "dieser": 1.5, "jeder": 0.7}
_PLURAL = {
    "definite_plural": 4.0, "possessive_plural": 1.0, "diese": 0.7, "bare": 0.7, "number": 1.2, "alle": 0.5,
    "viele": 0.5,
}  # fmt: skip
# German determiners by name: stem, English (singular nouns only have those without plural), adjective endings after it.
_FIXED = {
    "dieser": ("dies", "this", "definite"), "diese": ("dies", "these", "definite"),
    "jeder": ("jed", "every", "definite"), "alle": ("all", "all", "definite"), "viele": ("viel", "many", "none"),
}  # fmt: skip
_CONTRACTIONS = {"in dem": "im", "in das": "ins", "zu dem": "zum", "zu der": "zur", "von dem": "vom"}
_MOVES = (
    ("in", "acc", "into", "place"), ("in", "acc", "into", "place"), ("auf", "acc", "onto", "surface"),
    ("zu", "dat", "to", "place"), ("aus", "dat", "out of", "place"),
)  # fmt: skip
_PLACES = (
    ("in", "dat", "in", "place"), ("in", "dat", "in", "place"), ("auf", "dat", "on", "surface"),
    ("vor", "dat", "in front of", "place"), ("hinter", "dat", "behind", "place"),
)  # fmt: skip
_COMPANIONS = (
    ("mit", "dat", "with", "person"), ("ohne", "acc", "without", "person"), ("für", "acc", "for", "person"),
    ("mit", "dat", "with", "thing"),
)  # fmt: skip


class Chooser:
    """Seeded choices.

    Args:
        seed: of the sequence.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """One of ``items``, all equally likely."""
        return items[int(self._random.random() * len(items))]

    def weighted(self, weights: dict[str, float]) -> str:
        """One of the names, in proportion to their weights."""
        point = self._random.random() * sum(weights.values())
        for name, weight in weights.items():
            point -= weight
            if point < 0:
                return name
        return next(reversed(weights))  # where rounding left a trace of weight


class Phrases:
    """A source of phrases.

    Args:
        choose: makes the choices.
    """

    def __init__(self, choose: Chooser) -> None:
        self._choose = choose

    def _name(self) -> str:
        """An invented name of two or three syllables, so that no vocabulary holds them all."""
        pick = self._choose.pick
        syllables = 3 if self._choose.chance(0.25) else 2
        return ("".join(pick(_ONSETS) + pick(_VOWELS) for _ in range(syllables)) + pick(_CODAS)).capitalize()

    def named(self) -> NounPhrase:
        """Someone with a name, which looks the same in every case."""
        name = self._name()
        # Only sein or ihr tells whether it is a man or a woman; a vowel at the end goes with ihr.
        gender = "f" if name[-1] in "aeiou" else "m"
        return NounPhrase(dict.fromkeys(CASES, name), name, gender, 2, marked=False)

    def pronoun(self) -> NounPhrase:
        """A personal pronoun; a form the demo language does not use is ``.``."""
        german, english, gender, person = self._choose.pick(_PRONOUNS)
        subject, other = english.split()
        forms = dict(zip(CASES, german.split(), strict=True))
        return NounPhrase(forms, other, gender, person, marked=True, pronoun=True, english_subject=subject)

    def _noun(self, kinds: Collection[str]) -> Noun:
        noun = self._choose.pick([noun for noun in NOUNS if noun.kinds & set(kinds)])
        if not self._choose.chance(0.08):
            return noun
        _, german, english = self._choose.pick([modifier for modifier in MODIFIERS if noun.fits(modifier[0])])
        return Noun(
            noun.gender, german + noun.singular.lower(), noun.plural and german + noun.plural.lower(), noun.kinds,
            f"{english} {noun.english}", f"{english} {noun.english_plural}",
        )  # fmt: skip

    def noun_phrase(
        self, kinds: Collection[str], subject: NounPhrase | None = None, determiner: str | None = None
    ) -> NounPhrase:
        """A phrase around a noun of one of ``kinds``.

        Args:
            kinds: what the verb or preposition admits.
            subject: of the clause, whose sein or ihr it may be.
            determiner: instead of a random one.
        """
        noun = self._noun(kinds)
        if determiner is None:
            own = {"own": 2.0} if subject is not None and subject.person in (2, 5) else {}
            determiner = self._choose.weighted(_SINGULAR | own | (_PLURAL if noun.plural else {}))
        plural = determiner in _PLURAL
        gender = "p" if plural else noun.gender
        fitting = [adjective for adjective in ADJECTIVES if noun.fits(adjective.sort)]
        adjective = self._choose.pick(fitting) if self._choose.chance(0.18) else None
        noun_english = noun.english_plural if plural else noun.english
        words = f"{adjective.english} {noun_english}" if adjective else noun_english
        english, determiners, ending = self._determine(determiner, gender, subject, words)
        german = {}
        for case in CASES:
            plural_form = noun.plural or ""
            declined = (dative_plural(plural_form) if case == "dat" else plural_form) if plural else noun.singular
            middle = inflect_adjective(adjective.german, ending, case, gender) if adjective else ""
            german[case] = " ".join(word for word in (determiners[case], middle, declined) if word)
        return NounPhrase(german, english, gender, 5 if plural else 2, marked=gender == "m", kinds=noun.kinds)

    def _determine(
        self, determiner: str, gender: str, subject: NounPhrase | None, words: str
    ) -> tuple[str, dict[str, str], str]:
        """The English phrase, the German determiner in each case, and which adjective endings follow it."""
        if determiner in ("definite", "definite_plural"):
            return f"the {words}", {case: article(case, gender) for case in CASES}, "definite"
        if determiner in _FIXED:
            stem, english, ending = _FIXED[determiner]
            return f"{english} {words}", {case: strong(stem, case, gender) for case in CASES}, ending
        if determiner == "bare":
            return words, dict.fromkeys(CASES, ""), "none"
        if determiner == "number":
            german, english = self.number()
            return f"{english} {words}", dict.fromkeys(CASES, german), "none"
        if determiner in ("ein", "kein"):
            stem, english = determiner, indefinite_article(words)
        elif determiner == "own":
            assert subject is not None
            stem, english = _THIRD_POSSESSIVES[subject.gender]
        else:
            stem, english = self._choose.pick(_POSSESSIVES)
        return f"{english} {words}", {case: ein_word(stem, case, gender) for case in CASES}, "ein"

    def nobody(self, kinds: Collection[str]) -> NounPhrase:
        """A subject with kein."""
        phrase = self.noun_phrase(kinds, determiner="kein")
        english = phrase.english.split(" ", 1)[1]
        return NounPhrase(phrase.german, f"no {english}", phrase.gender, 2, phrase.marked, kinds=phrase.kinds)

    def number(self) -> tuple[str, str]:
        """A number below 10 or from 20 to 99, in both languages."""
        return number(self._choose.pick((2, 3, 4, 5, 6, 7, 8, 9, self._choose.pick(range(20, 100)))))

    def time(self, group: str) -> Part:
        """When: ``group`` is present, past or future."""
        counted = {} if group == "present" else {"count": 1.5}
        kind = self._choose.weighted({"plain": 6.0, "day": 1.5, "hour": 1.0} | counted)
        if kind == "day":
            day = self._choose.pick(tuple(DAYS))
            return Part("time", f"am {day}", f"on {DAYS[day]}")
        if kind == "hour":
            hour = self._choose.pick(range(2, 24))
            return Part("time", f"um {hour} Uhr", f"at {hour} o'clock")
        if kind == "count":
            german, english = self.number()
            unit, units = self._choose.pick((("Tagen", "days"), ("Jahren", "years")))
            if group == "past":
                return Part("time", f"vor {german} {unit}", f"{english} {units} ago")
            return Part("time", f"in {german} {unit}", f"in {english} {units}")
        german = self._choose.pick(tuple(TIMES[group]))
        return Part("time", german, TIMES[group][german])

    def place(self, subject: NounPhrase, moving: bool) -> Part:
        """Where; or where to (``moving``), which the accusative says: in dem Wald, in den Wald."""
        if self._choose.chance(0.06):
            german, english = ("nach", "to") if moving else ("in", "in")
            name = self._name()
            return Part("place", f"{german} {name}", f"{english} {name}")
        return self._prepositional("place", _MOVES if moving else _PLACES, subject)

    def manner(self, subject: NounPhrase) -> Part:
        """How, or with whom."""
        if self._choose.chance(0.6):
            german = self._choose.pick(tuple(MANNERS))
            return Part("manner", german, MANNERS[german])
        return self._prepositional("manner", _COMPANIONS, subject)

    def agent(self, subject: NounPhrase) -> Part:
        """By whom, in a passive clause."""
        return self._prepositional("by", (("von", "dat", "by", "person"),), subject)

    def _prepositional(self, role: str, prepositions: Sequence[tuple[str, str, str, str]], subject: NounPhrase) -> Part:
        german, case, english, kind = self._choose.pick(prepositions)
        phrase = self.noun_phrase({kind}, subject)
        first, *rest = phrase.german[case].split(" ")
        start = f"{german} {first}"
        return Part(role, " ".join([_CONTRACTIONS.get(start, start), *rest]), f"{english} {phrase.english}")
