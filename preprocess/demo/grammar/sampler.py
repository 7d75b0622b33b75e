"""Draws random sentences that are grammatical and, by the kinds of the lexicon, mostly sensible.

Only ``Random.random`` is used: its sequence for a seed is the same on every version of Python.
English must determine German: so *it* has one possible antecedent, negation and indefinite
numbers do not meet, and no word has two translations in the same construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from . import lexicon
from .lexicon import Adjective, Noun, Verb
from .phrases import (
    Adverbial,
    Clause,
    Couple,
    Interrogative,
    Name,
    Nominal,
    NounPhrase,
    Predicate,
    Pronoun,
    Relative,
    Sentence,
    prepositional_phrase,
)
from .sentences import translate

T = TypeVar("T")

LENGTHS = (4, 16)  # English words, the least and the most
CLOCK = tuple(range(1, 13))
NUMERALS = tuple(str(number) for number in range(13, 61))
YEARS = tuple(str(year) for year in range(1990, 2025))


def sentence_pairs(seed: int) -> Iterator[tuple[str, str]]:
    """English and German sentences without end: no sentence of either language comes twice."""
    sampler = Sampler(Random(seed))
    english: set[str] = set()
    german: set[str] = set()
    while True:
        source, target = translate(sampler.sentence())
        fits = LENGTHS[0] <= len(source.split()) <= LENGTHS[1]
        if fits and source not in english and target not in german:
            english.add(source)
            german.add(target)
            yield source, target


def _matches(kinds: str, allowed: str) -> bool:
    return bool(set(kinds.split()) & set(allowed.split()))


class Sampler:
    """Random abstract sentences from one source of random numbers."""

    def __init__(self, random: Random) -> None:
        self._random = random

    # Chance

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``, each as likely."""
        return options[int(self._random.random() * len(options))]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random.random() < probability

    def weighted(self, options: Sequence[tuple[int, T]]) -> T:
        """One of ``options`` by integer weight."""
        point = self._random.random() * sum(weight for weight, _ in options)
        for weight, option in options:
            point -= weight
            if point < 0:
                return option
        return options[-1][1]

    # Noun phrases

    def name(self) -> Name:
        """A person's name."""
        if self.chance(0.5):
            return Name(self.pick(lexicon.FEMALE_NAMES), "f")
        return Name(self.pick(lexicon.MALE_NAMES), "m")

    def noun(self, kinds: str) -> Noun:
        """A noun of one of the kinds."""
        return self.pick([noun for noun in lexicon.NOUNS if _matches(noun.kinds, kinds)])

    def adjective(self, noun: Noun) -> Adjective:
        """An adjective that goes with the noun."""
        return self.pick([word for word in lexicon.ADJECTIVES if _matches(noun.kinds, word.kinds)])

    def noun_phrase(self, kinds: str, owner: Nominal | None = None) -> NounPhrase:
        """A noun phrase in the third person; ``owner`` is whom a possessive may refer to."""
        noun = self.noun(kinds)
        plural = not noun.mass and self.chance(0.25)
        adjective = None
        if _has_adjective(noun) and self.chance(0.35):
            adjective = self.adjective(noun)
        phrase = NounPhrase(noun, self.determiner(noun, plural, owner), adjective, plural)
        if phrase.determiner == "the" and self.chance(0.15):
            phrase = replace(phrase, owner=self.genitive(noun))
        return phrase

    def genitive(self, noun: Noun) -> NounPhrase | None:
        """Whose a thing or an animal is: *(the car) of my friend*."""
        if not _matches(noun.kinds, "thing machine animal"):
            return None
        owner = self.noun("person")
        determiners = ("my", "your", "our") if "kin" in owner.kinds else ("the", "the", "this")
        return NounPhrase(owner, self.pick(determiners))

    def determiner(self, noun: Noun, plural: bool, owner: Nominal | None) -> str:
        """A determiner that goes with the noun and its number."""
        if noun.mass:
            return self.pick(("the", "", ""))
        possessive = _possessive(owner) if owner else self.pick(("my", "your", "our"))
        owned = [(2, possessive), (1, self.name().word + "'s")]
        if "kin" in noun.kinds:
            return self.weighted([(1, "the"), *owned, *owned])
        common = [(8, "the")]
        if "person" not in noun.kinds:
            common += owned
        if not plural:
            every = 1 if "person" in noun.kinds else 0
            return self.weighted([*common, (5, "a"), (2, "this"), (every, "every")])
        number = self.pick(list(lexicon.NUMBERS) if self.chance(0.7) else NUMERALS)
        return self.weighted([*common, (3, ""), (3, number)])

    def person(self) -> Nominal:
        """A person who does something: pronoun, name, noun phrase or two names."""
        draw: Callable[[], Nominal] = self.weighted(
            [
                (35, lambda: Pronoun(self.pick(("I", "you", "he", "she", "we", "they")))),
                (30, self.name),
                (50, lambda: self.noun_phrase("person")),
                (6, self.couple),
            ]
        )
        return draw()

    def couple(self) -> Couple:
        """Two different names."""
        first = self.name()
        second = self.name()
        while second == first:
            second = self.name()
        return Couple(first, second)

    def subject(self, kinds: str) -> Nominal:
        """A subject of one of the kinds; persons are the most likely where they are allowed."""
        kinds = self.pick(kinds.split()) if self.chance(0.3) else kinds.split()[0]
        if kinds == "person":
            return self.person()
        phrase = self.noun_phrase(kinds)
        return phrase if phrase.definite else replace(phrase, determiner="the")

    def object_of(self, verb: Verb, subject: Nominal) -> Nominal:
        """An object for the verb: not the subject again, nor a pronoun of its person."""
        if _matches("person", verb.objects) and self.chance(0.45):
            if self.chance(0.5):
                return self._unlike(self.name, subject)
            words = [
                word
                for word in ("I", "you", "he", "she", "we", "they")
                if word[0] not in _own_words(subject)
            ]
            return Pronoun(self.pick(words))
        return self._unlike(lambda: self.noun_phrase(verb.objects, subject), subject)

    def _unlike(self, draw: Callable[[], Nominal], subject: Nominal) -> Nominal:
        """A nominal without the subject's noun or names."""
        while True:
            drawn = draw()
            if not _content(drawn) & _content(subject):
                return drawn

    # Adverbials

    def time(self, tense: str) -> Adverbial:
        """A time that goes with the tense."""
        day = self.pick(list(lexicon.DAYS.items()))
        options = [(2, Adverbial(f"on {day[0]}", f"am {day[1]}")), (2, Adverbial("today", "heute"))]
        hour = self.pick(CLOCK)
        options.append((1, Adverbial(f"at {hour} o'clock", f"um {hour} Uhr")))
        options.append((1, self._event_time()))
        if tense == "present":
            options.append((3, Adverbial("every day", "jeden Tag")))
            options.append((2, Adverbial("in the evening", "am Abend")))
        elif tense == "past":
            year = self.pick(YEARS)
            number = self.pick(list(lexicon.NUMBERS.items()))
            unit = self.pick((("days", "Tagen"), ("weeks", "Wochen"), ("years", "Jahren")))
            ago = Adverbial(f"{number[0]} {unit[0]} ago", f"vor {number[1]} {unit[1]}")
            options += [
                (3, Adverbial("yesterday", "gestern")),
                (2, Adverbial("last week", "letzte Woche")),
                (2, Adverbial(f"in {year}", year)),
                (2, ago),
            ]
        else:
            options += [
                (3, Adverbial("tomorrow", "morgen")),
                (2, Adverbial("next year", "nächstes Jahr")),
            ]
        return self.weighted(options)

    def _event_time(self) -> Adverbial:
        """*after the concert*, *during the exam* (genitive), *because of the rain* (genitive)."""
        if self.chance(0.25):
            cause = NounPhrase(self.noun("cause"))
            return prepositional_phrase("because of", "wegen", "gen", cause)
        event = NounPhrase(self.noun("event"))
        preposition = self.pick(
            (("after", "nach", "dat"), ("before", "vor", "dat"), ("during", "während", "gen"))
        )
        return prepositional_phrase(*preposition, event)

    def place(self, kind: str) -> tuple[Adverbial, ...]:
        """A place of the kind a verb asks for, or none if ``kind`` is empty."""
        if kind == "city":
            return (prepositional_phrase("to", "nach", "dat", Name(self.pick(lexicon.CITIES))),)
        if kind == "to":
            if self.chance(0.5):
                goal = self._site("building outdoors")
                return (prepositional_phrase("to", "zu", "dat", goal),)
            return (
                prepositional_phrase("into", "in", "acc", self._site("building outdoors room")),
            )
        if kind == "at":
            site = self._site("building plant vehicle")
            preposition = self.pick(
                (("in front of", "vor"), ("behind", "hinter"), ("next to", "neben"))
            )
            return (prepositional_phrase(*preposition, "dat", site),)
        if kind == "maybe" and self.chance(0.7):
            return ()
        if not kind:
            return ()
        if self.chance(0.4):
            return (prepositional_phrase("in", "in", "dat", Name(self.pick(lexicon.CITIES))),)
        return (prepositional_phrase("in", "in", "dat", self._site("building room outdoors")),)

    def _site(self, kinds: str) -> NounPhrase:
        noun = self.noun(kinds)
        adjective = self.adjective(noun) if self.chance(0.2) else None
        return NounPhrase(noun, self.pick(("the", "the", "a", "this")), adjective)

    # Clauses

    def clause(
        self,
        tense: str = "",
        verbs: Sequence[Verb] = lexicon.VERBS,
        subject: Nominal | None = None,
        short: bool = False,
    ) -> Clause:
        """A clause with a full verb; ``short`` leaves out what is not needed."""
        verb = self.pick(verbs)
        tense = tense or self.weighted([(5, "present"), (5, "past"), (2, "future")])
        if verb.stative and tense == "future":
            tense = "present"
        subject = subject or self.subject(verb.subjects)
        recipient = None
        if verb.recipient:
            recipient = self._recipient(subject)
        target = self._thing(verb, subject, recipient) if verb.objects else None
        clause = Clause(subject, verb, tense, target, recipient)
        clause = replace(
            clause, place=self.place("" if short and verb.place == "maybe" else verb.place)
        )
        if (
            "person" in verb.subjects
            and not verb.stative
            and tense != "future"
            and self.chance(0.2)
        ):
            modals = [m for m in lexicon.MODALS if m.en_past or tense == "present"]
            clause = replace(clause, modal=self.pick(modals))
        extras: tuple[str, ...] = ("time", "frequency", "negation", "", "")
        if not short:
            extras += ("time-first", "time-first")
        return self._extended(clause, self.pick(extras))

    def _extended(self, clause: Clause, extra: str) -> Clause:
        if extra == "frequency" and clause.tense != "future" and not clause.verb.stative:
            english, german = self.pick(list(lexicon.FREQUENCIES.items()))
            return replace(clause, frequency=Adverbial(english, german))
        if extra == "negation" and _negatable(clause):
            return replace(clause, negated=True)
        if extra.startswith("time") and not (clause.verb.stative or _has_digits(clause)):
            first = extra == "time-first"
            return replace(clause, time=self.time(clause.tense), time_first=first)
        return clause

    def _recipient(self, subject: Nominal) -> Nominal:
        """A definite person in the dative."""
        verb = next(verb for verb in lexicon.VERBS if verb.en == "help")
        while True:
            drawn = self.object_of(verb, subject)
            if drawn.definite:
                return drawn

    def _thing(self, verb: Verb, subject: Nominal, recipient: Nominal | None) -> Nominal:
        if recipient is None:
            return self.object_of(verb, subject)
        # With a possessive of its own the thing would not stand apart from the recipient.
        return replace(
            self.noun_phrase(verb.objects), determiner=self.pick(("a", "the")), plural=False
        )

    def state(self, tense: str = "", subject: Nominal | None = None) -> Clause:
        """A clause with *be* and an adjective."""
        tense = tense or self.weighted([(6, "present"), (4, "past")])
        if subject is None:
            kinds = self.pick(
                ("person", "animal", "thing", "machine", "building", "event", "weather")
            )
            subject = self.person() if kinds == "person" else self.definite_phrase(kinds)
        kinds = subject.noun.kinds if isinstance(subject, NounPhrase) else "person"
        adjectives = [word for word in lexicon.ADJECTIVES if _matches(kinds, word.kinds)]
        adjective = self.pick(adjectives)
        degree = None
        if self.chance(0.3):
            english, german = self.pick(list(lexicon.DEGREES.items()))
            degree = Adverbial(english, german)
        negated = degree is None and self.chance(0.2)
        predicate = Predicate(adjective, degree)
        return Clause(subject, lexicon.BE, tense, predicate=predicate, negated=negated)

    def definite_phrase(self, kinds: str) -> NounPhrase:
        """A definite noun phrase without an adjective, now and then with a genitive attribute."""
        noun = self.noun(kinds)
        plural = not noun.mass and self.chance(0.25)
        owner = self.genitive(noun) if self.chance(0.3) else None
        determiner = "the"
        if "kin" in noun.kinds or not (owner or noun.mass or noun.kinds == "person"):
            named = self.name().word + "'s"
            determiner = self.pick(("the", "the", "my", "your", "our", named))
        return NounPhrase(noun, determiner, plural=plural, owner=owner)

    # Sentences

    def sentence(self) -> Sentence:
        """A sentence of a random type."""
        draw: Callable[[], Sentence] = self.weighted(
            [
                (36, lambda: Sentence(self.clause())),
                (8, lambda: Sentence(self.state())),
                (4, self.comparison),
                (7, self.question),
                (6, self.subject_or_object_question),
                (4, self.adverb_question),
                (4, self.command),
                (9, self.complement),
                (10, self.reason),
                (6, self.condition),
                (10, self.relative),
                (4, self.contrast),
            ]
        )
        return draw()

    def comparison(self) -> Sentence:
        """As in *The dog is older than the cat.*."""
        kinds = self.pick(("person", "animal", "thing", "building", "machine"))
        first = self.state(subject=self.definite_phrase(kinds))
        adjectives = [
            word
            for word in lexicon.ADJECTIVES
            if word.en_comparative and _matches(kinds, word.kinds)
        ]
        than = self._unlike(lambda: self.definite_phrase(kinds), first.subject)
        predicate = Predicate(self.pick(adjectives), than=than)
        return Sentence(replace(first, predicate=predicate, negated=False))

    def question(self) -> Sentence:
        """A question for yes or no."""
        clause = self.state() if self.chance(0.25) else self.clause()
        return Sentence(_plain(clause), "question")

    def subject_or_object_question(self) -> Sentence:
        """As in *Who helps the woman?*, *Whom does she help?*, *What does she buy?*."""
        verbs = [verb for verb in lexicon.VERBS if verb.objects and "person" in verb.subjects]
        clause = _plain(self.clause(verbs=verbs, short=True))
        if self.chance(0.4):
            asked = replace(clause, subject=Interrogative())
            return Sentence(_without_possessive(asked), "question")
        human = _matches("person", clause.verb.objects)
        return Sentence(replace(clause, object=Interrogative(human)), "question")

    def adverb_question(self) -> Sentence:
        """As in *Where does Anna live?*."""
        english, german = self.pick(list(lexicon.QUESTION_ADVERBS.items()))
        verbs = lexicon.VERBS
        if english == "where":
            verbs = tuple(verb for verb in verbs if verb.place in ("in", "at", "maybe"))
        if english == "when":
            verbs = tuple(verb for verb in verbs if not verb.stative)
        clause = replace(_plain(self.clause(verbs=verbs, short=True)), frequency=None)
        place = () if english == "where" else clause.place
        time = clause.time if english == "why" else None
        adverb = Adverbial(english, german)
        return Sentence(replace(clause, place=place, time=time, adverb=adverb), "question")

    def command(self) -> Sentence:
        """As in *Open the door!*."""
        verbs = [verb for verb in _PERSON_VERBS if not verb.stative and verb.en != "arrive"]
        clause = self.clause("present", verbs, Pronoun("you"), short=True)
        return Sentence(replace(clause, modal=None, frequency=None, time=None), "command")

    def complement(self) -> Sentence:
        """As in *Anna says that …* and *Anna does not know whether …*."""
        verb = self.pick((lexicon.SAY, lexicon.BELIEVE, lexicon.KNOW_THAT))
        tense = self.pick(("present", "past"))
        main = Clause(self.person(), verb, tense)
        other = self.embedded("past" if tense == "past" else "")
        if verb is lexicon.KNOW_THAT and self.chance(0.4):
            return Sentence(replace(main, negated=True), "statement", lexicon.WHETHER, other)
        return Sentence(main, "statement", lexicon.THAT, other)

    def embedded(self, tense: str = "", subject: Nominal | None = None) -> Clause:
        """A short clause for subordination."""
        if self.chance(0.3):
            return self.state("" if tense == "future" else tense, subject)
        verbs = lexicon.VERBS
        if subject is not None:
            verbs = tuple(verb for verb in verbs if "person" in verb.subjects)
        return self.clause(tense, verbs, subject, short=True)

    def reason(self) -> Sentence:
        """*… because …* and *… although …*, often with a pronoun for the subject or the object."""
        conjunction = self.pick((lexicon.BECAUSE, lexicon.BECAUSE, lexicon.ALTHOUGH))
        tense = self.pick(("present", "past"))
        if self.chance(0.35):
            main, other = self._about_a_thing(tense)
        else:
            main = replace(self.clause(tense, short=True, verbs=_PERSON_VERBS), time=None)
            other = self.embedded(tense, _pronoun_for(main.subject))
            while other.object and _content(other.object) & _content(main.subject):
                other = self.embedded(tense, _pronoun_for(main.subject))
            other = replace(other, time=None)
        return Sentence(main, "statement", conjunction, other)

    def _about_a_thing(self, tense: str) -> tuple[Clause, Clause]:
        """Two clauses whose *it* or *they* can mean one noun alone."""
        thing = replace(self.definite_phrase("ware machine"), owner=None)
        anaphor = _pronoun_for(thing)
        assert anaphor is not None
        person = self.name()
        if self.chance(0.5):
            main = self.state(tense, thing)
            if self.chance(0.5) or thing.plural:
                return main, self._other_state(tense, main, thing, anaphor)
            verb = self.pick(_verbs("need", "have"))
            return main, Clause(person, verb, tense, anaphor)
        thing = replace(thing, determiner=self.pick(("the", "this" if not thing.plural else "my")))
        main = Clause(person, self.pick(_verbs("buy", "sell")), tense, thing)
        return main, self._other_state(tense, main, thing, anaphor)

    def _other_state(self, tense: str, main: Clause, thing: NounPhrase, it: Pronoun) -> Clause:
        """A state of the thing other than that of the main clause."""
        while True:
            state = self.state(tense, thing)
            if main.predicate is None or state.predicate != main.predicate:
                return replace(state, subject=it)

    def condition(self) -> Sentence:
        """*If …, …*: the clause in front makes the German main clause begin with its verb."""
        condition = self.embedded("present")
        condition = replace(condition, time=None)
        consequence = self.clause(self.pick(("present", "future")), short=True)
        other_first = self.chance(0.75)
        return Sentence(
            replace(consequence, time=None), "statement", lexicon.IF, condition, other_first
        )

    def relative(self) -> Sentence:
        """A sentence with a relative clause at its subject or its object."""
        if self.chance(0.5):
            verbs = [verb for verb in lexicon.VERBS if "person" in verb.subjects]
            head = self._head("person")
            clause = _simple(self.clause(verbs=verbs, subject=head, short=True))
            return Sentence(replace(clause, subject=self._with_relative(head)))
        verbs = [
            verb
            for verb in lexicon.VERBS
            if verb.objects and "person" in verb.subjects and not verb.en_preposition
        ]
        clause = _simple(self.clause(verbs=verbs, short=True))
        clause = replace(
            clause, place=(), object=self._with_relative(self._head(clause.verb.objects))
        )
        return Sentence(clause)

    def _head(self, kinds: str) -> NounPhrase:
        noun = self.noun(kinds)
        adjective = self.adjective(noun) if _has_adjective(noun) and self.chance(0.2) else None
        return NounPhrase(noun, "the", adjective, plural=not noun.mass and self.chance(0.25))

    def _with_relative(self, head: NounPhrase) -> NounPhrase:
        pronoun = Relative(head)
        tense = self.pick(("present", "past"))
        kinds = head.noun.kinds
        objects = [
            verb
            for verb in lexicon.VERBS
            if _matches(kinds, verb.objects) and "person" in verb.subjects
        ]
        subjects = [verb for verb in lexicon.VERBS if _matches(kinds, verb.subjects)]
        if "person" in kinds and self.chance(0.5):
            clause = self.clause(tense, subjects, short=True)
            clause = replace(clause, subject=pronoun)
        else:
            subject = (
                self.name() if self.chance(0.6) else Pronoun(self.pick(("I", "he", "she", "we")))
            )
            clause = self.clause(tense, objects, subject, short=True)
            clause = replace(clause, object=pronoun)
        return replace(head, relative=_without_possessive(_simple(clause)))

    def contrast(self) -> Sentence:
        """Two main clauses joined by *but* or *and*."""
        conjunction = self.pick((lexicon.BUT, lexicon.AND))
        tense = self.pick(("present", "past"))
        main = self.clause(tense, short=True)
        return Sentence(main, "statement", conjunction, self.clause(tense, short=True))


_PERSON_VERBS = tuple(verb for verb in lexicon.VERBS if verb.subjects == "person")


def _content(np: Nominal) -> set[str]:
    """Its words but for function words, and singulars for plurals."""
    words = {word.removesuffix("'s") for word in np.en().split()}
    if isinstance(np, NounPhrase):
        words.add(np.noun.en)
    return words - {"the", "a", "an", "this", "every", "my", "your", "our", "and", "of"}


def _verbs(*english: str) -> list[Verb]:
    return [verb for verb in lexicon.VERBS if verb.en in english]


def _has_adjective(noun: Noun) -> bool:
    return any(_matches(noun.kinds, word.kinds) for word in lexicon.ADJECTIVES)


def _own_words(subject: Nominal) -> str:
    """First letters of the pronouns that would mean the subject itself."""
    word = subject.en()
    return "Iw" if word in ("I", "we") else word[0] if isinstance(subject, Pronoun) else ""


def _possessive(owner: Nominal) -> str:
    """The possessive determiner for a person; *my* for owners without a natural gender."""
    if isinstance(owner, Pronoun) and owner.word in ("I", "we", "you"):
        return {"I": "my", "we": "our", "you": "your"}[owner.word]
    pronoun = _pronoun_for(owner)
    return {"he": "his", "she": "her", "they": "their"}.get(pronoun.word if pronoun else "", "my")


def _pronoun_for(np: Nominal) -> Pronoun | None:
    """The pronoun that takes up ``np``; None if the two languages may differ (*das Mädchen*)."""
    if isinstance(np, Pronoun):
        return np
    if np.plural:
        return Pronoun("they")
    if isinstance(np, Name):
        return Pronoun({"f": "she", "m": "he"}[np.gender])
    if isinstance(np, NounPhrase) and "person" not in np.noun.kinds:
        return Pronoun("it", np.noun.gender)
    if isinstance(np, NounPhrase):
        word = {"f": "she", "m": "he"}.get(np.noun.gender)
        return Pronoun(word) if word else None
    return None


def _has_digits(clause: Clause) -> bool:
    """Whether it has a numeral, beside which a year or an hour would be hard to read."""
    nominals = (clause.subject, clause.object)
    return any(np is not None and any(c.isdigit() for c in np.en()) for np in nominals)


def _negatable(clause: Clause) -> bool:
    """Whether *not* has one plain place: no indefinite subject, no numeral in its scope."""
    if not clause.subject.definite:
        return False
    np = clause.object
    return not isinstance(np, NounPhrase) or np.definite or np.determiner in ("a", "")


def _simple(clause: Clause) -> Clause:
    return replace(clause, time=None, negated=False)


def _plain(clause: Clause) -> Clause:
    """The clause as a question can be built from it."""
    return replace(clause, negated=False, time_first=False)


def _without_possessive(clause: Clause) -> Clause:
    """The clause with *the* in place of possessives of the third person."""

    def plain(np: Nominal | None) -> Nominal | None:
        if isinstance(np, NounPhrase) and np.determiner in ("his", "her", "their"):
            return replace(np, determiner="the")
        return np

    return replace(clause, object=plain(clause.object), recipient=plain(clause.recipient))
