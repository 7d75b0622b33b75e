"""The parts of a sentence, from noun phrases to clauses.

Phrases have an English and a German side each; :mod:`.sentences` puts those of a clause in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import english, german
from .lexicon import NUMBERS, Adjective, Conjunction, Modal, Noun, Verb


class Nominal:
    """A subject or an object; third person singular unless a subclass says otherwise."""

    person: int = 3
    plural: bool = False

    def en(self, case: str = "nom") -> str:
        """The English side; ``case`` matters to pronouns alone, where not ``nom`` is objective."""
        raise NotImplementedError

    def de(self, case: str = "nom") -> str:
        """The German side in one case."""
        raise NotImplementedError

    @property
    def definite(self) -> bool:
        """Whether it goes before adverbs of frequency and *nicht* in the German middle field."""
        return True


@dataclass(frozen=True)
class Pronoun(Nominal):
    """A personal pronoun by its English subject form; *it* needs its antecedent's gender."""

    word: str
    gender: str = ""

    @property
    def person(self) -> int:  # type: ignore[override]
        """The grammatical person, from 1 to 3."""
        return {"I": 1, "we": 1, "you": 2}.get(self.word, 3)

    @property
    def plural(self) -> bool:  # type: ignore[override]
        """Whether it is *we* or *they*: *you* is always singular here."""
        return self.word in ("we", "they")

    def en(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return self.word if case == "nom" else english.OBJECT_PRONOUNS[self.word]

    def de(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return german.pronoun(
            {"he": "m", "she": "f", "it": self.gender}.get(self.word, self.word), case
        )


@dataclass(frozen=True)
class Name(Nominal):
    """The name of a person or a city: the same in both languages and in every case."""

    word: str
    gender: str = "n"

    def en(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return self.word

    def de(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return self.word


@dataclass(frozen=True)
class Couple(Nominal):
    """Two names joined by *and*."""

    first: Name
    second: Name
    plural: bool = True

    def en(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return f"{self.first.word} and {self.second.word}"

    def de(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return f"{self.first.word} und {self.second.word}"


@dataclass(frozen=True)
class NounPhrase(Nominal):
    """Determiner, adjective and noun, with a genitive attribute or a relative clause after it.

    ``determiner`` is English: an article, *this*, *every*, *no*, a possessive, a number, a name's
    possessive (*Anna's*), or empty for bare plurals and mass nouns. The relative clause is not in
    ``en`` and ``de``: the clause around it decides where it goes.
    """

    noun: Noun
    determiner: str = "the"
    adjective: Adjective | None = None
    plural: bool = False
    owner: NounPhrase | None = None
    relative: Clause | None = None

    @property
    def slot(self) -> str:
        """Gender, or ``p`` for the plural: the column of the German paradigms."""
        return "p" if self.plural else self.noun.gender

    @property
    def definite(self) -> bool:
        """See :class:`Nominal`."""
        return self.determiner not in ("a", "", "no") and self.determiner not in NUMBERS

    def en(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        words = [self.adjective.en] if self.adjective else []
        words.append(english.noun(self.noun, self.plural))
        determiner = self.determiner
        if determiner == "a":
            determiner = english.indefinite_article(words[0])
        if self.owner:
            words += ["of", self.owner.en()]
        return " ".join(filter(None, [determiner, *words]))

    def de(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        determiner, declension = german.determiner(self.determiner, case, self.slot)
        words = [determiner]
        if self.adjective:
            words.append(german.adjective(self.adjective, declension, case, self.slot))
        words.append(german.noun(self.noun, case, self.plural))
        if self.owner:
            words.append(self.owner.de("gen"))
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class Relative(Nominal):
    """A relative pronoun that agrees with its antecedent in gender and number."""

    antecedent: NounPhrase

    @property
    def plural(self) -> bool:  # type: ignore[override]
        """Whether the antecedent is plural."""
        return self.antecedent.plural

    def en(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        if "person" not in self.antecedent.noun.kinds:
            return "which"
        return "who" if case == "nom" else "whom"

    def de(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return german.relative_pronoun(case, self.antecedent.slot)


@dataclass(frozen=True)
class Interrogative(Nominal):
    """*who* or *what*."""

    human: bool = True

    def en(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        if not self.human:
            return "what"
        return "who" if case == "nom" else "whom"

    def de(self, case: str = "nom") -> str:
        """See :class:`Nominal`."""
        return {"nom": "wer", "acc": "wen", "dat": "wem"}[case] if self.human else "was"


@dataclass(frozen=True)
class Adverbial:
    """A phrase that is the same wherever it stands."""

    en: str
    de: str


def prepositional_phrase(en: str, de: str, case: str, np: Nominal) -> Adverbial:
    """A prepositional phrase, contracted in German where the article is definite: *im Garten*."""
    return Adverbial(f"{en} {np.en(case)}", german.contract(de, np.de(case)))


@dataclass(frozen=True)
class Predicate:
    """What follows *be*: an adjective, with a degree adverb or compared with a noun phrase."""

    adjective: Adjective
    degree: Adverbial | None = None
    than: Nominal | None = None

    @property
    def en(self) -> str:
        """The English side."""
        if self.than:
            return f"{self.adjective.en_comparative} than {self.than.en()}"
        return f"{self.degree.en} {self.adjective.en}" if self.degree else self.adjective.en

    @property
    def de(self) -> str:
        """The German side."""
        if self.than:
            return f"{self.adjective.de_comparative} als {self.than.de()}"
        return f"{self.degree.de} {self.adjective.de}" if self.degree else self.adjective.de


@dataclass(frozen=True)
class Clause:
    """Who does what to whom, when and where.

    ``tense`` is ``present``, ``past`` or ``future``. The English past is the German perfect, or
    the preterite of *sein*, *haben*, *wissen*, *kennen* and the modal verbs. ``time_first`` puts
    ``time`` at the front; ``adverb`` is a question adverb (*where*).
    """

    subject: Nominal
    verb: Verb
    tense: str = "present"
    object: Nominal | None = None
    recipient: Nominal | None = None
    predicate: Predicate | None = None
    modal: Modal | None = None
    frequency: Adverbial | None = None
    time: Adverbial | None = None
    time_first: bool = False
    place: tuple[Adverbial, ...] = ()
    negated: bool = False
    adverb: Adverbial | None = None


@dataclass(frozen=True)
class Sentence:
    """A main clause, and a second clause behind or before it.

    ``mood`` is ``statement``, ``question`` or ``command`` (a command's subject is *you*).
    """

    main: Clause
    mood: str = "statement"
    conjunction: Conjunction | None = None
    other: Clause | None = None
    other_first: bool = False
