"""German inflection: determiners, adjectives, nouns, pronouns and verbs.

Cases are ``nom``, ``acc``, ``dat`` and ``gen``; a *slot* is a gender or ``p`` for the plural, which
has no genders. The tables are those of any school grammar.
"""

from __future__ import annotations

from .lexicon import NUMBERS, Adjective, Modal, Noun, Verb

SLOTS = "mfnp"


def _table(nom: str, acc: str, dat: str, gen: str) -> dict[str, dict[str, str]]:
    """A paradigm from one row of four forms a case; ``-`` is the empty ending."""
    rows = {"nom": nom, "acc": acc, "dat": dat, "gen": gen}
    return {
        case: dict(zip(SLOTS, row.replace("-", "").split(" "), strict=True))
        for case, row in rows.items()
    }


_DEFINITE = _table("der die das die", "den die das die", "dem der dem den", "des der des der")
_RELATIVE = _table(
    "der die das die", "den die das die", "dem der dem denen", "dessen deren dessen deren"
)
_DIES_ENDINGS = _table("er e es e", "en e es e", "em er em en", "es er es er")
_EIN_ENDINGS = _table("- e - e", "en e - e", "em er em en", "es er es er")
_ADJECTIVE_ENDINGS = {
    "strong": _table("er e es e", "en e es e", "em er em en", "en er en er"),
    "weak": _table("e e e en", "en e e en", "en en en en", "en en en en"),
    "mixed": _table("er e es en", "en e es en", "en en en en", "en en en en"),
}
_DIES_STEMS = {"this": "dies", "every": "jed"}
_EIN_STEMS = {
    "a": "ein",
    "no": "kein",
    "my": "mein",
    "your": "dein",
    "his": "sein",
    "her": "ihr",
    "our": "unser",
    "their": "ihr",
}
_PRONOUNS = {
    "I": ("ich", "mich", "mir"),
    "you": ("du", "dich", "dir"),
    "m": ("er", "ihn", "ihm"),
    "f": ("sie", "sie", "ihr"),
    "n": ("es", "es", "ihm"),
    "we": ("wir", "uns", "uns"),
    "they": ("sie", "sie", "ihnen"),
}
_CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "an das": "ans",
    "von dem": "vom",
    "zu dem": "zum",
    "zu der": "zur",
}


def determiner(en: str, case: str, slot: str) -> tuple[str, str]:
    """The German form of an English determiner, and the adjective declension after it.

    ``en`` is an article, a possessive, a number, a name's possessive (*Anna's*) or empty.
    """
    if en == "the":
        return _DEFINITE[case][slot], "weak"
    if en in _DIES_STEMS:
        return _DIES_STEMS[en] + _DIES_ENDINGS[case][slot], "weak"
    if en in _EIN_STEMS:
        return _EIN_STEMS[en] + _EIN_ENDINGS[case][slot], "mixed"
    return NUMBERS.get(en, en.replace("'", "")), "strong"


def adjective(word: Adjective, declension: str, case: str, slot: str) -> str:
    """The attributive form of an adjective."""
    stem = (word.de_stem or word.de).removesuffix("e")
    return stem + _ADJECTIVE_ENDINGS[declension][case][slot]


def noun(word: Noun, case: str, plural: bool = False) -> str:
    """A noun in one case and number."""
    if plural:
        return word.de_plural + ("n" if case == "dat" and word.de_plural[-1] not in "ns" else "")
    if word.weak and case != "nom":
        return word.de_plural
    return word.de + (word.genitive if case == "gen" else "")


def pronoun(key: str, case: str) -> str:
    """A personal pronoun; ``key`` is the English word or, for he, she and it, the gender."""
    return _PRONOUNS[key][("nom", "acc", "dat").index(case)]


def relative_pronoun(case: str, slot: str) -> str:
    """The relative pronoun *der, die, das*."""
    return _RELATIVE[case][slot]


def contract(preposition: str, phrase: str) -> str:
    """Preposition and noun phrase, with *in dem* → *im* and the like; pronouns stay apart."""
    article, _, rest = phrase.partition(" ")
    contracted = _CONTRACTIONS.get(f"{preposition} {article}")
    return f"{contracted} {rest}" if contracted and rest else f"{preposition} {phrase}"


def _stem(infinitive: str) -> str:
    return infinitive.removesuffix("en")


def _needs_e(stem: str) -> bool:
    """Whether an *e* keeps the ending apart: *du arbeitest*, *er zeichnet*."""
    return stem.endswith(("t", "d", "chn"))


def present(verb: Verb, person: int, plural: bool) -> str:
    """The present tense, without the separable prefix. The second person is singular *du*."""
    if verb.de == "sein":
        return "sind" if plural else ("bin", "bist", "ist")[person - 1]
    stem = _stem(verb.de)
    if plural:
        return verb.de
    if person == 1:
        return verb.er if verb.de == "wissen" else stem + "e"
    link = "e" if _needs_e(stem) else ""
    if person == 2:
        return verb.du or stem + link + ("t" if stem.endswith(("s", "ß", "z")) else "st")
    return verb.er or stem + link + "t"


def preterite(singular: str, person: int, plural: bool) -> str:
    """A preterite from its first person: *war, warst, waren*; *konnte, konntest, konnten*."""
    if plural:
        return singular + ("n" if singular.endswith("e") else "en")
    return singular + ("st" if person == 2 else "")


def modal_present(modal: Modal, person: int, plural: bool) -> str:
    """The present tense of a modal verb; *should* is *sollte*."""
    if modal.singular == modal.preterite:
        return preterite(modal.preterite, person, plural)
    if plural:
        return modal.de
    second = "t" if modal.singular.endswith("s") else "st"
    return modal.singular + (second if person == 2 else "")


def imperative(verb: Verb) -> str:
    """The singular imperative: *mach*, *warte*, *gib*; a vowel changed to *i* stays changed."""
    stem = _stem(verb.de)
    if "i" in verb.du:
        return verb.du.removesuffix("t" if stem.endswith("s") else "st")
    return stem + ("e" if _needs_e(stem) else "")


def future_auxiliary(person: int, plural: bool) -> str:
    """The present tense of *werden*."""
    return "werden" if plural else ("werde", "wirst", "wird")[person - 1]


def perfect_auxiliary(verb: Verb, person: int, plural: bool) -> str:
    """The present tense of *haben* or *sein*."""
    if verb.sein:
        return "sind" if plural else ("bin", "bist", "ist")[person - 1]
    return "haben" if plural else ("habe", "hast", "hat")[person - 1]
