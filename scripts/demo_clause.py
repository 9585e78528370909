"""Clauses of the demo language and how they are said: one meaning, a German-like and an English surface.

German puts the finite verb second in main clauses, first in questions and last in subordinate ones; participles,
infinitives and separable prefixes close the clause. English keeps subject, verb, object and needs ``do`` in negations
and questions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from demo_inflection import be, infinitive, present, preterite, third_singular
from demo_lexicon import Verb

# German modal: English present auxiliary, past auxiliary; None where English uses a full verb, named last.
MODALS: dict[str, tuple[str | None, str | None, str]] = {
    "können": ("can", "could", ""),
    "müssen": (None, None, "have to"),
    "wollen": (None, None, "want to"),
    "sollen": ("should", None, ""),
    "dürfen": ("may", None, ""),
}
_FULL_MODALS = {"have to": ("has to", "had to"), "want to": ("wants to", "wanted to")}

# The order of what stands between the finite verb and the end of a German clause, and of what follows an English verb.
_MIDFIELD = ("pronoun", "time", "dative", "object", "manner", "not", "by", "place", "predicate")
_ADVERBS = ("along", "away", "out", "up")
_ENGLISH_TAIL = ("predicate", "dative", "object", "manner", "by", "place", "time")


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase, name or pronoun.

    ``german`` has its three cases, ``gender`` is m, f, n or p (plural), ``person`` counts from 0 to 5 (ich ... sie).
    ``marked`` says that nominative and accusative differ, so that word order is free. ``english`` is the object form.
    ``kinds`` are the noun's kinds, for which verbs select.
    """

    german: dict[str, str]
    english: str
    gender: str
    person: int
    marked: bool
    pronoun: bool = False
    english_subject: str = ""
    kinds: frozenset[str] = frozenset()

    @property
    def as_subject(self) -> str:
        """The English subject form."""
        return self.english_subject or self.english


@dataclass(frozen=True)
class Part:
    """Something beside subject and verb: its role (see ``_MIDFIELD``), both surfaces, and an object's noun phrase."""

    role: str
    german: str
    english: str
    phrase: NounPhrase | None = None


@dataclass
class Clause:
    """Subject, verb, tense and parts. ``verb`` None is the copula; ``modal`` is set with tense present or past only."""

    subject: NounPhrase
    verb: Verb | None
    tense: str = "present"
    modal: str | None = None
    passive: bool = False
    negated: bool = False
    kein: bool = False
    parts: list[Part] = field(default_factory=list)

    # German

    def _non_finite(self) -> str:
        """The infinitive that a modal or ``werden`` governs."""
        return infinitive(self.verb) if self.verb else "sein"

    def _predicate(self) -> tuple[str, str]:
        """The finite verb and what closes the clause; a separable prefix is left to the caller."""
        person = self.subject.person
        conjugate = preterite if self.tense == "past" else present
        if self.modal:
            return conjugate(self.modal, person), self._non_finite()
        if self.passive:
            assert self.verb is not None
            return conjugate("werden", person), self.verb.participle
        if self.tense == "perfect":
            auxiliary = self.verb.auxiliary if self.verb else "sein"
            return present(auxiliary, person), self.verb.participle if self.verb else "gewesen"
        if self.tense == "future":
            return present("werden", person), self._non_finite()
        return conjugate(self.verb or "sein", person), ""

    def _midfield(self, without: str | None = None) -> list[str]:
        parts = [part for part in self.parts if part.role != without]
        if self.negated and not self.kein:
            parts.append(Part("not", "nicht", "not"))
        return [part.german for part in sorted(parts, key=_german_place)]

    def _prefix(self, closing: str) -> str:
        return self.verb.prefix if self.verb and not closing else ""

    def german_main(self, front: str | None = None) -> str:
        """Verb second. ``front`` is the role of the part that stands first; None is the subject."""
        finite, closing = self._predicate()
        first = self.subject.german["nom"] if front is None else self.part(front).german
        second = [] if front is None else [self.subject.german["nom"]]
        return _join([first, finite, *second, *self._midfield(front), closing, self._prefix(closing)])

    def german_question(self, word: str = "", asked: str | None = None) -> str:
        """Verb first, or after the question ``word`` that stands for the part ``asked``."""
        finite, closing = self._predicate()
        subject = self.subject.german["nom"]
        return _join([word, finite, subject, *self._midfield(asked), closing, self._prefix(closing)])

    def german_final(self, relative: str = "", gap: str | None = None) -> str:
        """Verb last; in a relative clause the pronoun ``relative`` stands first and for the part ``gap``."""
        finite, closing = self._predicate()
        subject = "" if gap == "subject" else self.subject.german["nom"]
        return _join([relative, subject, *self._midfield(gap), closing, self._prefix(closing) + finite])

    def german_zu(self) -> str:
        """The infinitive clause after ``um``."""
        assert self.verb is not None
        return _join([*self._midfield(), infinitive(self.verb, with_zu=True)])

    # English

    def _forms(self) -> tuple[str, str, str]:
        """Auxiliary, the rest of the verb, and the single finite form where there is one (else empty)."""
        # English has no perfect beside a point in time: hat gestern gekauft, bought yesterday.
        past = self.tense == "past" or (self.tense == "perfect" and self.has("time"))
        person, base = self.subject.person, self.verb.english if self.verb else "be"
        if self.modal:
            return self._modal_forms(base)
        if self.tense == "future":
            return "will", base, ""
        if self.passive:
            assert self.verb is not None
            return be(person, past), self.verb.english_participle, ""
        if self.tense == "perfect" and not past:
            return "has" if person == 2 else "have", self.verb.english_participle if self.verb else "been", ""
        if self.verb is None:
            return be(person, past), "", ""
        plain = self.verb.past if past else third_singular(base) if person == 2 else base
        return _do(person, past), base, plain

    def _modal_forms(self, base: str) -> tuple[str, str, str]:
        assert self.modal is not None
        person, past = self.subject.person, self.tense == "past"
        *auxiliaries, full = MODALS[self.modal]
        auxiliary = auxiliaries[past]
        if auxiliary:
            return auxiliary, base, ""
        singular, past_form = _FULL_MODALS[full]
        plain = past_form if past else singular if person == 2 else full
        return _do(person, past), f"{full} {base}", f"{plain} {base}"

    def _tail(self, without: str | None = None) -> list[str]:
        particle = self.verb.particle if self.verb else ""
        parts = sorted((part for part in self.parts if part.role != without), key=_english_place)
        words = [part.english for part in parts]
        # take along the dog, but take him along; look for him
        after_pronoun = particle in _ADVERBS and any(part.phrase and part.phrase.pronoun for part in parts)
        words.insert(1 if after_pronoun else 0, particle)
        return words

    def english(self, gap: str | None = None) -> str:
        """The statement; ``gap`` leaves out the subject or a part, for relative clauses."""
        auxiliary, rest, plain = self._forms()
        subject = "" if gap == "subject" else self.subject.as_subject
        if self.negated:
            return _join([subject, auxiliary, "not", rest, *self._tail(gap)])
        return _join([subject, *([plain] if plain else [auxiliary, rest]), *self._tail(gap)])

    def english_question(self, word: str = "", asked: str | None = None) -> str:
        """Auxiliary before the subject, after the question ``word`` if there is one."""
        auxiliary, rest, _ = self._forms()
        negation = "not" if self.negated else ""
        return _join([word, auxiliary, self.subject.as_subject, negation, rest, *self._tail(asked)])

    def english_infinitive(self) -> str:
        """The clause after ``in order to``."""
        assert self.verb is not None
        return _join([self.verb.english, *self._tail()])

    def part(self, role: str) -> Part:
        """The part with this role."""
        return next(part for part in self.parts if part.role == role)

    def has(self, role: str) -> bool:
        """Whether there is a part with this role."""
        return any(part.role == role for part in self.parts)


def _german_place(part: Part) -> int:
    return _MIDFIELD.index("pronoun" if part.phrase and part.phrase.pronoun else part.role)


def _english_place(part: Part) -> int:
    return _ENGLISH_TAIL.index(part.role)


def _do(person: int, past: bool) -> str:
    return "did" if past else "does" if person == 2 else "do"


def _join(words: Iterable[str]) -> str:
    return " ".join(word for word in words if word)


def sentence(text: str, end: str) -> str:
    """Close ``text`` with the mark ``end``, merge the commas that embedded clauses left, and capitalise."""
    text = f"{text} {end}".replace(" , , ", " , ").replace(f" , {end}", f" {end}")
    return text[0].upper() + text[1:]
