"""English inflection: articles, nouns, pronouns and verbs."""

from __future__ import annotations

from .lexicon import Noun, Verb

OBJECT_PRONOUNS = {
    "I": "me",
    "you": "you",
    "he": "him",
    "she": "her",
    "it": "it",
    "we": "us",
    "they": "them",
}


def indefinite_article(next_word: str) -> str:
    """*a* or *an*. The first letter decides: the lexicon has no *hour* and no *university*."""
    return "an" if next_word[0] in "aeiou" else "a"


def noun(word: Noun, plural: bool = False) -> str:
    """A noun in one number."""
    return word.en_plural if plural else word.en


def third_person(base: str) -> str:
    """The third person singular of the present tense."""
    if base == "have":
        return "has"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "sh", "ch", "x", "o")) else "s")


def be(tense: str, person: int, plural: bool) -> str:
    """The present or past tense of *be*."""
    many = plural or person == 2
    if tense == "past":
        return "were" if many else "was"
    return "are" if many else ("am" if person == 1 else "is")


def do(tense: str, person: int, plural: bool) -> str:
    """The auxiliary of do-support."""
    if tense == "past":
        return "did"
    return "does" if person == 3 and not plural else "do"


def finite(verb: Verb, tense: str, person: int, plural: bool) -> str:
    """The present or past tense of a full verb."""
    if tense == "past":
        return verb.en_past
    return third_person(verb.en) if person == 3 and not plural else verb.en
