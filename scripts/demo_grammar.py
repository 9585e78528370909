"""Draws sentences of the demo language, each with its one translation.

A German sentence never has two translations here: where word order is free, case or agreement tells subject from
object, and where it does not, the first of the two is the subject.
"""

from collections.abc import Collection
from dataclasses import replace

from demo_clause import MODALS, Clause, NounPhrase, Part, sentence
from demo_inflection import CASES, relative_pronoun
from demo_lexicon import ADJECTIVES, VERBS, Verb
from demo_phrases import Chooser, Phrases

Pair = tuple[str, str]

_FRAMES = {"acc": 11.0, "none": 3.0, "move": 3.0, "dat": 2.0, "give": 2.0}
_SUBORDINATORS = {
    "weil": "because", "obwohl": "although", "wenn": "when", "bevor": "before", "nachdem": "after",
}  # fmt: skip
_PERSON = frozenset({"person"})
_DESCRIBED = ("person", "animal", "thing", "food")  # not places: a castle and a lock could not be told apart


class Grammar:
    """A source of sentence pairs.

    Args:
        seed: of all choices.
    """

    def __init__(self, seed: int) -> None:
        self._choose = Chooser(seed)
        self._phrases = Phrases(self._choose)
        self._kinds = {
            self._statement: 8.0, self._yes_no_question: 1.5, self._question: 1.5, self._two_clauses: 2.0,
            self._reported: 1.5, self._coordinated: 0.8, self._described: 2.5, self._purpose: 1.0, self._passive: 1.2,
        }  # fmt: skip

    def pair(self) -> Pair:
        """One German sentence and its translation, both with spaces around every token."""
        names = {kind.__name__: weight for kind, weight in self._kinds.items()}
        chosen = self._choose.weighted(names)
        return next(kind for kind in self._kinds if kind.__name__ == chosen)()

    # sentences

    def _statement(self) -> Pair:
        clause = self._clause(depth=1)
        return sentence(clause.german_main(self._front(clause)), "."), sentence(clause.english(), ".")

    def _yes_no_question(self) -> Pair:
        clause = self._clause(depth=1)
        return sentence(clause.german_question(), "?"), sentence(clause.english_question(), "?")

    def _question(self) -> Pair:
        clause = self._clause()
        asked = [part.role for part in clause.parts if part.role in ("object", "dative", "time", "place")]
        role = self._choose.pick([*asked, "why", "subject"])
        if role == "subject":
            who = NounPhrase(dict.fromkeys(CASES, "wer"), "who", "m", 2, marked=True)
            clause = self._clause(subject=who)
            return sentence(clause.german_main(), "?"), sentence(clause.english(), "?")
        german, english = self._question_word(clause, role)
        if clause.kein and role == "object":
            clause.kein = False  # the negated object is what is asked for: nicht is left
        return sentence(clause.german_question(german, role), "?"), sentence(
            clause.english_question(english, role), "?"
        )

    def _question_word(self, clause: Clause, role: str) -> Pair:
        assert clause.verb is not None
        if role == "object":
            phrase = clause.part("object").phrase
            person = phrase is not None and (phrase.pronoun or not phrase.kinds or phrase.kinds == _PERSON)
            return ("wen", "whom") if person else ("was", "what")
        if role == "place" and clause.verb.frame == "move":
            out = clause.part("place").english.startswith("out of")
            return ("woher", "from where") if out else ("wohin", "to where")
        return {"dative": ("wem", "whom"), "time": ("wann", "when"), "place": ("wo", "where")}.get(
            role, ("warum", "why")
        )

    def _two_clauses(self) -> Pair:
        """A main clause with weil, obwohl, wenn, ... before or after it."""
        main, other = self._clause(brief=True), self._clause_or_copula()
        german, english = self._choose.pick(tuple(_SUBORDINATORS.items()))
        if self._choose.chance(0.5):
            first = f"{german} {other.german_final()} , {main.german_question()}"
            return sentence(first, "."), sentence(f"{english} {other.english()} , {main.english()}", ".")
        last = f"{main.german_main(self._front(main))} , {german} {other.german_final()}"
        return sentence(last, "."), sentence(f"{main.english()} {english} {other.english()}", ".")

    def _reported(self) -> Pair:
        """Someone says that ..., or asks whether ..."""
        asks = self._choose.chance(0.25)
        main = self._clause(frames={"ask" if asks else "say": 1.0}, brief=True)
        german, english = ("ob", "whether") if asks else ("dass", "that")
        other = self._clause_or_copula()
        text = f"{main.german_main(self._front(main))} , {german} {other.german_final()}"
        return sentence(text, "."), sentence(f"{main.english()} {english} {other.english()}", ".")

    def _coordinated(self) -> Pair:
        first, second = self._clause(brief=True), self._clause_or_copula()
        german, english = self._choose.pick((("und", "and"), (", aber", ", but")))
        text = f"{first.german_main(self._front(first))} {german} {second.german_main()}"
        return sentence(text, "."), sentence(f"{first.english()} {english} {second.english()}", ".")

    def _described(self) -> Pair:
        clause = self._copula(depth=1)
        if self._choose.chance(0.2):
            return sentence(clause.german_question(), "?"), sentence(clause.english_question(), "?")
        return sentence(clause.german_main(self._front(clause)), "."), sentence(clause.english(), ".")

    def _purpose(self) -> Pair:
        """Someone does something, um ... zu."""
        main = self._clause(frames={"move": 3.0, "acc": 2.0, "none": 1.0}, brief=True)
        other = self._clause(frames={"acc": 4.0, "dat": 1.0, "give": 1.0}, subject=main.subject, brief=True)
        other.parts = [part for part in other.parts if part.role != "time"]
        other.negated = other.kein = False
        text = f"{main.german_main(self._front(main))} , um {other.german_zu()}"
        return sentence(text, "."), sentence(f"{main.english()} in order to {other.english_infinitive()}", ".")

    def _passive(self) -> Pair:
        verb = self._choose.pick([verb for verb in VERBS if verb.frame == "acc"])
        tense = self._choose.pick(("present", "past"))
        subject = self._phrases.noun_phrase(verb.objects)
        clause = Clause(subject, verb, tense, passive=True, negated=self._choose.chance(0.15))
        if self._choose.chance(0.5):
            clause.parts.append(self._phrases.agent(subject))
        self._add_adverbials(clause, verb, 0.8)
        front = self._front(clause)
        return sentence(clause.german_main(front), "."), sentence(clause.english(), ".")

    # clauses

    def _clause(
        self,
        depth: int = 0,
        frames: dict[str, float] | None = None,
        subject: NounPhrase | None = None,
        brief: bool = False,
    ) -> Clause:
        """A clause with a full verb.

        Args:
            depth: how many levels of relative clauses it may contain.
            frames: weights of the kinds of verbs.
            subject: instead of a random one.
            brief: fewer adverbials, to keep long sentences readable.
        """
        frame = self._choose.weighted(frames or _FRAMES)
        verb = self._choose.pick([verb for verb in VERBS if verb.frame == frame])
        clause = self._inflected(subject or self._subject(verb.subjects, depth), verb)
        self._add_objects(clause, verb, depth)
        self._add_adverbials(clause, verb, 0.4 if brief else 1.0)
        return clause

    def _inflected(self, subject: NounPhrase, verb: Verb | None) -> Clause:
        tense = self._choose.weighted({"present": 5.0, "past": 2.5, "perfect": 3.0, "future": 1.5})
        negated = self._choose.chance(0.15) and not subject.english.startswith("no ")
        clause = Clause(subject, verb, tense, negated=negated)
        if verb is not None and tense in ("present", "past") and self._choose.chance(0.2):
            # The past of sollen and dürfen has no single English counterpart.
            clause.modal = self._choose.pick(tuple(MODALS) if tense == "present" else ("können", "müssen", "wollen"))
        return clause

    def _clause_or_copula(self) -> Clause:
        return self._copula() if self._choose.chance(0.25) else self._clause(brief=True)

    def _copula(self, depth: int = 0) -> Clause:
        """Someone or something is old, older than ..., or a ..."""
        kind = self._choose.pick(("person", "person", *_DESCRIBED))
        clause = self._inflected(self._subject({kind}, depth), None)
        clause.parts.append(self._predicate(clause.subject))
        if self._choose.chance(0.2):
            clause.parts.append(self._time(clause))
        return clause

    def _predicate(self, subject: NounPhrase) -> Part:
        if subject.kinds == _PERSON and subject.person == 2 and self._choose.chance(0.2):
            noun = self._phrases.noun_phrase(_PERSON, determiner="ein")
            return Part("predicate", noun.german["nom"], noun.english)
        sort = "lifeless" if subject.kinds & {"thing", "food"} else "living"
        adjective = self._choose.pick([adjective for adjective in ADJECTIVES if adjective.sort in ("any", sort)])
        if adjective.comparative is None or self._choose.chance(0.6):
            return Part("predicate", adjective.german, adjective.english)
        other = self._phrases.noun_phrase(subject.kinds & set(_DESCRIBED) or _PERSON)
        if self._choose.chance(0.7):
            german, english = f"{adjective.comparative} als", f"{adjective.english_comparative} than"
        else:
            german, english = f"so {adjective.german} wie", f"as {adjective.english} as"
        return Part("predicate", f"{german} {other.german['nom']}", f"{english} {other.english}")

    def _add_objects(self, clause: Clause, verb: Verb, depth: int) -> None:
        if verb.frame in ("dat", "give"):
            kinds = _PERSON if verb.frame == "give" else verb.objects
            phrase = self._object("dat", kinds, clause.subject, depth)
            clause.parts.append(Part("dative", phrase.german["dat"], phrase.english, phrase))
        if verb.frame in ("acc", "give"):
            clause.kein = clause.negated and self._choose.chance(0.5)
            if clause.kein:
                phrase = self._phrases.noun_phrase(verb.objects, determiner="kein")
            elif verb.frame == "give":
                phrase = self._phrases.noun_phrase(verb.objects, clause.subject)
            else:
                phrase = self._object("acc", verb.objects, clause.subject, depth)
            clause.parts.append(Part("object", phrase.german["acc"], phrase.english, phrase))

    def _add_adverbials(self, clause: Clause, verb: Verb, factor: float) -> None:
        if self._choose.chance(0.25 * factor):
            clause.parts.append(self._time(clause))
        if verb.frame == "move" and self._choose.chance(0.8):
            clause.parts.append(self._phrases.place(clause.subject, moving=True))
        elif verb.frame in ("acc", "none") and "place" not in verb.objects and self._choose.chance(0.25 * factor):
            clause.parts.append(self._phrases.place(clause.subject, moving=False))
        if self._choose.chance(0.12 * factor):
            clause.parts.append(self._phrases.manner(clause.subject))

    def _time(self, clause: Clause) -> Part:
        if clause.modal and clause.tense == "present":
            return self._phrases.time(self._choose.pick(("present", "future")))
        return self._phrases.time("past" if clause.tense in ("past", "perfect") else clause.tense)

    # subjects and objects

    def _subject(self, kinds: Collection[str], depth: int) -> NounPhrase:
        if "person" in kinds and self._choose.chance(0.3):
            return self._phrases.pronoun()
        if "person" in kinds and self._choose.chance(0.05):
            return self._phrases.named()
        if self._choose.chance(0.03):
            return self._phrases.nobody(kinds)
        return self._perhaps_relative(self._phrases.noun_phrase(kinds), depth)

    def _object(self, case: str, kinds: Collection[str], subject: NounPhrase, depth: int) -> NounPhrase:
        if "person" in kinds and self._choose.chance(0.2):
            pronoun = self._phrases.pronoun()
            same = pronoun.person == subject.person or {pronoun.person, subject.person} in ({0, 3}, {1, 4})
            if pronoun.german[case] != "." and not same:
                return pronoun
        if "person" in kinds and self._choose.chance(0.05):
            return self._phrases.named()
        return self._perhaps_relative(self._phrases.noun_phrase(kinds, subject), depth)

    def _perhaps_relative(self, head: NounPhrase, depth: int) -> NounPhrase:
        if depth == 0 or not self._choose.chance(0.15):
            return head
        role = "subject"
        if head.kinds & {"person", "animal"} == frozenset() or self._choose.chance(0.4):
            role = "object"
        clause = self._relative_subject(head) if role == "subject" else self._relative_object(head)
        if clause is None:
            return head
        case = {"subject": "nom", "object": "acc"}[role]
        pronoun = relative_pronoun(case, head.gender)
        german = f", {clause.german_final(pronoun, role)} ,"
        word = "who" if head.kinds == _PERSON else "that"
        english = f"{'whom' if role == 'object' and word == 'who' else word} {clause.english(role)}"
        forms = {name: f"{form} {german}" for name, form in head.german.items()}
        return replace(head, german=forms, english=f"{head.english} {english}")

    def _relative_subject(self, head: NounPhrase) -> Clause | None:
        """The head acts: der Hund , der den Mann sieht."""
        verbs = [verb for verb in VERBS if verb.subjects & head.kinds and verb.frame in _FRAMES]
        clause = self._inflected(head, self._choose.pick(verbs))
        assert clause.verb is not None
        self._add_objects(clause, clause.verb, depth=0)
        self._add_adverbials(clause, clause.verb, 0.3)
        return clause

    def _relative_object(self, head: NounPhrase) -> Clause | None:
        """The head is acted on: der Hund , den der Mann sieht; None where it would read the other way round."""
        verbs = [verb for verb in VERBS if verb.objects & head.kinds and verb.frame == "acc"]
        verb = self._choose.pick(verbs)
        subject = self._subject(verb.subjects, depth=0)
        if not _order_is_free(subject, head):
            return None
        clause = self._inflected(subject, verb)
        clause.parts.append(Part("object", "", "", head))
        self._add_adverbials(clause, verb, 0.3)
        return clause

    def _front(self, clause: Clause) -> str | None:
        """The role of what stands before the finite verb; None is the subject."""
        roles = {"subject": 6.0}
        for role, weight in (("time", 4.0), ("place", 1.0), ("object", 2.0)):
            if clause.has(role):
                roles[role] = weight
        if clause.kein:
            roles.pop("object", None)
        if "object" in roles:
            phrase = clause.part("object").phrase
            assert phrase is not None
            if not _order_is_free(clause.subject, phrase):
                del roles["object"]
        role = self._choose.weighted(roles)
        return None if role == "subject" else role


def _order_is_free(subject: NounPhrase, other: NounPhrase) -> bool:
    """Whether case or the verb's agreement says which of the two is the subject, whatever their order."""
    return subject.marked or other.marked or subject.person != other.person
