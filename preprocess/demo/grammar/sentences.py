"""Sentences in words: one abstract representation, realised in English and in German."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

from . import english, german
from .lexicon import BE
from .phrases import Clause, Interrogative, Nominal, NounPhrase, Pronoun, Relative, Sentence


def translate(sentence: Sentence) -> tuple[str, str]:
    """The English and the German text of a sentence."""
    return _text(_english(sentence), sentence.mood), _text(_german(sentence), sentence.mood)


def _text(words: Iterable[str], mood: str) -> str:
    """Capitalise and end the sentence; a comma before the final mark is dropped."""
    text = _join(words).rstrip(",")
    mark = {"statement": ".", "question": "?", "command": "!"}[mood]
    return text[0].upper() + text[1:] + mark


def _join(words: Iterable[str]) -> str:
    """Words joined by blanks; a comma clings to the word before it and is never doubled."""
    text = ""
    for word in filter(None, words):
        if word != ",":
            text += f" {word}"
        elif not text.endswith(","):
            text += ","
    return text.strip()


# English


def _english(sentence: Sentence) -> list[str]:
    main = _english_clause(sentence.main, sentence.mood)
    if not (sentence.conjunction and sentence.other):
        return main
    other = [sentence.conjunction.en, *_english_clause(sentence.other)]
    if sentence.other_first:
        return [*other, ",", *main]
    return [*main, "," if sentence.conjunction.en_comma else "", *other]


def _english_clause(clause: Clause, mood: str = "statement") -> list[str]:
    """The words in order; an interrogative or relative pronoun is moved to the front."""
    subject = clause.subject
    auxiliary, verb = _english_verb(clause, mood)
    asked = _fronted(clause.object)
    complement = [
        clause.recipient.en("dat") if clause.recipient else "",
        *_english_object(clause),
        clause.predicate.en if clause.predicate else "",
        *(place.en for place in clause.place),
    ]
    frequency = clause.frequency.en if clause.frequency else ""
    time = clause.time.en if clause.time else ""
    if mood == "command":
        return ["do not" if clause.negated else "", clause.verb.en, *complement, time]
    negation = "not" if clause.negated else ""
    if auxiliary == "can" and negation:
        auxiliary, negation = "cannot", ""
    head = subject.en()
    relative = subject.relative if isinstance(subject, NounPhrase) else None
    subject_words = [head, *(_english_clause(relative) if relative else [])]
    if mood == "question" and not isinstance(subject, Interrogative):
        opening = [auxiliary, *subject_words]
    else:
        opening = [*subject_words, auxiliary]
    front = [
        asked.en(clause.verb.case) if asked else "",
        clause.adverb.en if clause.adverb else "",
        time if clause.time_first else "",
    ]
    end = "" if clause.time_first else time
    return [*front, *opening, negation, frequency, *verb, *complement, end]


def _english_object(clause: Clause) -> list[str]:
    """Preposition, particle and object; a pronoun goes before the particle: *picks him up*."""
    verb = clause.verb
    if clause.object is None or _fronted(clause.object):
        return [verb.particle, verb.en_preposition]
    words = [clause.object.en("acc")]
    if isinstance(clause.object, NounPhrase) and clause.object.relative:
        words += _english_clause(clause.object.relative)
    particle_last = isinstance(clause.object, Pronoun)
    return [
        "" if particle_last else verb.particle,
        verb.en_preposition,
        *words,
        verb.particle if particle_last else "",
    ]


def _english_verb(clause: Clause, mood: str) -> tuple[str, list[str]]:
    """The auxiliary (or *be*, or nothing) and the rest of the verb."""
    person, plural = clause.subject.person, clause.subject.plural
    verb, modal, tense = clause.verb, clause.modal, clause.tense
    inverted = mood == "question" and not isinstance(clause.subject, Interrogative)
    if modal and not modal.do_support:
        return (modal.en_past if tense == "past" else modal.en), [verb.en]
    if tense == "future":
        return "will", [verb.en]
    if verb is BE and not modal:
        return english.be(tense, person, plural), []
    rest = ["to", verb.en] if modal else []
    if inverted or clause.negated:
        return english.do(tense, person, plural), [modal.en if modal else verb.en, *rest]
    if modal and tense == "past":
        return "", [modal.en_past, *rest]
    if modal:
        singular = person == 3 and not plural
        return "", [english.third_person(modal.en) if singular else modal.en, *rest]
    return "", [english.finite(verb, tense, person, plural)]


# German


def _german(sentence: Sentence) -> list[str]:
    order = {"statement": "verb-second", "question": "verb-first", "command": "command"}
    if not (sentence.conjunction and sentence.other):
        return _german_clause(sentence.main, order[sentence.mood])
    conjunction = sentence.conjunction
    other_order = "verb-final" if conjunction.verb_final else "verb-second"
    other = [conjunction.de, *_german_clause(sentence.other, other_order)]
    if sentence.other_first:
        return [*other, ",", *_german_clause(sentence.main, "verb-first")]
    main = _german_clause(sentence.main, order[sentence.mood])
    return [*main, "," if conjunction.de_comma else "", *other]


def _german_clause(clause: Clause, order: str) -> list[str]:
    """The words in ``verb-first``, ``verb-second``, ``verb-final`` or ``command`` order.

    The object's relative clause goes behind the whole clause (extraposition).
    """
    finite, tail = _german_verb(clause)
    front, middle = _german_fields(clause)
    prefix = clause.verb.prefix if not tail else ""
    if order == "command":
        words = [german.imperative(clause.verb), *middle[1:], prefix]
    elif order == "verb-final":
        words = [*front, *middle, *tail, prefix + finite]
    elif order == "verb-first" or front:
        words = [*front, finite, *middle, *tail, prefix]
    else:
        words = [middle[0], finite, *middle[1:], *tail, prefix]
    if isinstance(clause.object, NounPhrase) and clause.object.relative:
        words += [",", *_german_clause(clause.object.relative, "verb-final"), ","]
    return words


def _german_fields(clause: Clause) -> tuple[list[str], list[str]]:
    """What stands in the front field, and the middle field with the subject first.

    Middle field: subject, pronouns (before an indefinite subject where another phrase is in front:
    *Heute besucht uns ein Arzt*), time, definite objects, frequency, *nicht*, indefinite
    objects, prepositional object, place, predicate.
    """
    verb = clause.verb
    negation = "nicht" if clause.negated else ""
    pronouns: list[str] = []
    definite: list[str] = []
    indefinite: list[str] = []
    prepositional = asked = ""
    for np, case in ((clause.recipient, "dat"), (clause.object, verb.case)):
        if np is None:
            continue
        if negation and not verb.de_preposition and _takes_kein(np):
            np, negation = replace(np, determiner="no"), ""
        text = np.de(case)
        if verb.de_preposition:
            text = german.contract(verb.de_preposition, text)
        if _fronted(np):
            asked = text
        elif verb.de_preposition:
            prepositional = text
        elif isinstance(np, Pronoun):
            pronouns.append(text)
        else:
            (definite if np.definite else indefinite).append(text)
    time = clause.time.de if clause.time else ""
    subject = _german_subject(clause.subject)
    middle = [
        "" if clause.time_first else time,
        *definite,
        clause.frequency.de if clause.frequency else "",
        negation,
        *indefinite,
        prepositional,
        *(place.de for place in clause.place),
        clause.predicate.de if clause.predicate else "",
    ]
    front = [word for word in (asked, clause.adverb.de if clause.adverb else "") if word]
    if time and clause.time_first:
        front.append(time)
    if isinstance(clause.subject, Interrogative | Relative):
        return [subject], [*pronouns, *middle]
    if front and not clause.subject.definite:
        return front, [*pronouns, subject, *middle]
    return front, [subject, *pronouns, *middle]


def _german_subject(subject: Nominal) -> str:
    if isinstance(subject, NounPhrase) and subject.relative:
        relative = _german_clause(subject.relative, "verb-final")
        return _join([subject.de(), ",", *relative, ","])
    return subject.de()


def _german_verb(clause: Clause) -> tuple[str, list[str]]:
    """The finite verb without its prefix, and the rest that ends a main clause."""
    person, plural = clause.subject.person, clause.subject.plural
    verb, modal = clause.verb, clause.modal
    infinitive = verb.prefix + verb.de
    if modal:
        if clause.tense == "past":
            return german.preterite(modal.preterite, person, plural), [infinitive]
        return german.modal_present(modal, person, plural), [infinitive]
    if clause.tense == "future":
        return german.future_auxiliary(person, plural), [infinitive]
    if clause.tense == "present":
        return german.present(verb, person, plural), []
    if verb.preterite:
        return german.preterite(verb.preterite, person, plural), []
    return german.perfect_auxiliary(verb, person, plural), [verb.prefix + verb.participle]


def _takes_kein(np: Nominal) -> TypeGuard[NounPhrase]:
    """Whether negation turns its article (or the lack of one) into *kein*."""
    return isinstance(np, NounPhrase) and np.determiner in ("a", "")


def _fronted(np: Nominal | None) -> Nominal | None:
    """``np`` where it moves to the front of its clause in both languages."""
    return np if isinstance(np, Relative | Interrogative) else None
