"""The grammar of the demo corpus against German and English as school grammars have them."""

from itertools import islice
from random import Random

import pytest

from preprocess.demo.grammar import Clause, Sentence, german, lexicon, sentence_pairs, translate
from preprocess.demo.grammar.english import indefinite_article, third_person
from preprocess.demo.grammar.phrases import (
    Adverbial,
    Interrogative,
    Name,
    NounPhrase,
    Predicate,
    Pronoun,
    Relative,
    prepositional_phrase,
)
from preprocess.demo.grammar.sampler import Sampler

NOUNS = {noun.en: noun for noun in lexicon.NOUNS}
ADJECTIVES = {word.en: word for word in lexicon.ADJECTIVES}
VERBS = {verb.en: verb for verb in lexicon.VERBS}
MODALS = {modal.de: modal for modal in lexicon.MODALS}
ANNA, PAUL = Name("Anna", "f"), Name("Paul", "m")
CASES = ("nom", "acc", "dat", "gen")


def phrase(noun, determiner="the", adjective=None, plural=False, **more):
    word = ADJECTIVES[adjective] if adjective else None
    return NounPhrase(NOUNS[noun], determiner, word, plural, **more)


PARADIGMS = [
    # determiner, noun, plural: nominative, accusative, dative, genitive
    ("the", "dog", False, "der alte Hund|den alten Hund|dem alten Hund|des alten Hundes"),
    ("the", "cat", False, "die alte Katze|die alte Katze|der alten Katze|der alten Katze"),
    ("the", "horse", False, "das alte Pferd|das alte Pferd|dem alten Pferd|des alten Pferdes"),
    ("the", "dog", True, "die alten Hunde|die alten Hunde|den alten Hunden|der alten Hunde"),
    (
        "this",
        "dog",
        False,
        "dieser alte Hund|diesen alten Hund|diesem alten Hund|dieses alten Hundes",
    ),
    (
        "this",
        "horse",
        False,
        "dieses alte Pferd|dieses alte Pferd|diesem alten Pferd|dieses alten Pferdes",
    ),
    ("a", "dog", False, "ein alter Hund|einen alten Hund|einem alten Hund|eines alten Hundes"),
    ("a", "cat", False, "eine alte Katze|eine alte Katze|einer alten Katze|einer alten Katze"),
    ("a", "horse", False, "ein altes Pferd|ein altes Pferd|einem alten Pferd|eines alten Pferdes"),
    ("no", "dog", False, "kein alter Hund|keinen alten Hund|keinem alten Hund|keines alten Hundes"),
    (
        "no",
        "cat",
        True,
        "keine alten Katzen|keine alten Katzen|keinen alten Katzen|keiner alten Katzen",
    ),
    (
        "our",
        "horse",
        False,
        "unser altes Pferd|unser altes Pferd|unserem alten Pferd|unseres alten Pferdes",
    ),
    ("", "dog", True, "alte Hunde|alte Hunde|alten Hunden|alter Hunde"),
    (
        "five",
        "book",
        True,
        "fünf alte Bücher|fünf alte Bücher|fünf alten Büchern|fünf alter Bücher",
    ),
    (
        "Anna's",
        "dog",
        False,
        "Annas alter Hund|Annas alten Hund|Annas altem Hund|Annas alten Hundes",
    ),
    (
        "the",
        "student",
        False,
        "der alte Student|den alten Studenten|dem alten Studenten|des alten Studenten",
    ),
    ("a", "boy", False, "ein alter Junge|einen alten Jungen|einem alten Jungen|eines alten Jungen"),
    ("the", "car", True, "die alten Autos|die alten Autos|den alten Autos|der alten Autos"),
]


@pytest.mark.parametrize(("determiner", "noun", "plural", "forms"), PARADIGMS)
def test_noun_phrase_paradigms(determiner, noun, plural, forms):
    np = phrase(noun, determiner, "old", plural)
    assert [np.de(case) for case in CASES] == forms.split("|")


def test_strong_endings_of_mass_nouns_in_the_singular():
    assert phrase("tea", "", "hot").de("acc") == "heißen Tee"
    assert phrase("water", "", "cold").de("nom") == "kaltes Wasser"
    assert phrase("milk", "", "cold").de("dat") == "kalter Milch"


def test_adjective_stems_that_change():
    assert phrase("church", "the", "high").de() == "die hohe Kirche"
    assert phrase("car", "a", "expensive").de() == "ein teures Auto"
    assert phrase("kitchen", "the", "dark").de("dat") == "der dunklen Küche"
    assert phrase("man", "a", "tired").de() == "ein müder Mann"


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("see", "sehe siehst sieht sehen"),
        ("wait", "warte wartest wartet warten"),
        ("draw", "zeichne zeichnest zeichnet zeichnen"),
        ("dance", "tanze tanzt tanzt tanzen"),
        ("travel", "reise reist reist reisen"),
        ("eat", "esse isst isst essen"),
        ("invite", "lade lädst lädt laden"),
        ("have", "habe hast hat haben"),
        ("run", "laufe läufst läuft laufen"),
    ],
)
def test_present_tense(verb, forms):
    verb = VERBS[verb]
    singular = [german.present(verb, person, False) for person in (1, 2, 3)]
    assert [*singular, german.present(verb, 3, True)] == forms.split()


def test_sein_wissen_preterites_and_modal_verbs():
    assert [german.present(lexicon.BE, p, False) for p in (1, 2, 3)] == ["bin", "bist", "ist"]
    assert german.present(lexicon.KNOW_THAT, 1, False) == "weiß"
    assert [german.preterite("war", p, False) for p in (1, 2, 3)] == ["war", "warst", "war"]
    assert german.preterite("konnte", 3, True) == "konnten"
    forms = [german.modal_present(MODALS["müssen"], p, False) for p in (1, 2, 3)]
    assert forms == ["muss", "musst", "muss"]
    assert german.modal_present(MODALS["wollen"], 2, False) == "willst"
    assert german.modal_present(MODALS["sollen"], 2, False) == "solltest"


@pytest.mark.parametrize(
    ("verb", "form"),
    [("give", "gib"), ("help", "hilf"), ("eat", "iss"), ("wait", "warte"), ("run", "lauf")],
)
def test_imperative(verb, form):
    assert german.imperative(VERBS[verb]) == form


def test_english_forms():
    assert [third_person(verb) for verb in ("carry", "go", "watch", "have", "buy")] == [
        "carries",
        "goes",
        "watches",
        "has",
        "buys",
    ]
    assert phrase("apple", "a").en() == "an apple"
    assert phrase("apple", "a", "red").en() == "a red apple"
    assert indefinite_article("egg") == "an"


DOOR = phrase("door")
IN_GARDEN = (prepositional_phrase("in", "in", "dat", phrase("garden")),)
YESTERDAY = Adverbial("yesterday", "gestern")
OPENS = Clause(PAUL, VERBS["open"], object=DOOR)
MAN = phrase("man")
BOOKS = phrase("book", plural=True)

PAIRS = [
    (Sentence(OPENS), "Paul opens the door.", "Paul macht die Tür auf."),
    (
        Sentence(
            Clause(
                ANNA,
                VERBS["buy"],
                "past",
                phrase("car", "a", "new"),
                time=YESTERDAY,
                time_first=True,
            )
        ),
        "Yesterday Anna bought a new car.",
        "Gestern hat Anna ein neues Auto gekauft.",
    ),
    (
        Sentence(Clause(ANNA, lexicon.SAY), "statement", lexicon.THAT, OPENS),
        "Anna says that Paul opens the door.",
        "Anna sagt, dass Paul die Tür aufmacht.",
    ),
    (
        Sentence(
            Clause(ANNA, lexicon.SAY, "past"),
            "statement",
            lexicon.THAT,
            Clause(PAUL, VERBS["open"], "past", DOOR),
        ),
        "Anna said that Paul opened the door.",
        "Anna hat gesagt, dass Paul die Tür aufgemacht hat.",
    ),
    (
        Sentence(Clause(phrase("train"), VERBS["arrive"], "past", negated=True)),
        "The train did not arrive.",
        "Der Zug ist nicht angekommen.",
    ),
    (
        Sentence(
            Clause(
                Pronoun("she"),
                VERBS["go"],
                "past",
                place=(prepositional_phrase("to", "zu", "dat", phrase("school")),),
            )
        ),
        "She went to the school.",
        "Sie ist zur Schule gegangen.",
    ),
    (
        Sentence(
            Clause(
                phrase("woman"), VERBS["buy"], object=phrase("apple", "", plural=True), negated=True
            )
        ),
        "The woman does not buy apples.",
        "Die Frau kauft keine Äpfel.",
    ),
    (
        Sentence(
            Clause(phrase("woman"), VERBS["buy"], object=BOOKS, negated=True, place=IN_GARDEN)
        ),
        "The woman does not buy the books in the garden.",
        "Die Frau kauft die Bücher nicht im Garten.",
    ),
    (
        Sentence(
            Clause(
                Pronoun("I"),
                VERBS["help"],
                object=phrase("boy"),
                modal=MODALS["müssen"],
                tense="past",
            ),
            "question",
        ),
        "Did I have to help the boy?",
        "Musste ich dem Jungen helfen?",
    ),
    (
        Sentence(Clause(Pronoun("you"), VERBS["wait"], object=Interrogative()), "question"),
        "Whom do you wait for?",
        "Auf wen wartest du?",
    ),
    (
        Sentence(
            Clause(Interrogative(), VERBS["help"], "past", object=Pronoun("they")), "question"
        ),
        "Who helped them?",
        "Wer hat ihnen geholfen?",
    ),
    (
        Sentence(Clause(Pronoun("you"), VERBS["pick"], object=Pronoun("he")), "command"),
        "Pick him up!",
        "Hol ihn ab!",
    ),
    (
        Sentence(
            Clause(
                phrase(
                    "man",
                    relative=Clause(
                        Relative(MAN),
                        VERBS["live"],
                        place=(prepositional_phrase("in", "in", "dat", Name("Berlin")),),
                    ),
                ),
                VERBS["work"],
            )
        ),
        "The man who lives in Berlin works.",
        "Der Mann, der in Berlin wohnt, arbeitet.",
    ),
    (
        Sentence(
            Clause(
                PAUL,
                VERBS["see"],
                "past",
                phrase("man", relative=Clause(ANNA, VERBS["help"], object=Relative(MAN))),
            )
        ),
        "Paul saw the man whom Anna helps.",
        "Paul hat den Mann gesehen, dem Anna hilft.",
    ),
    (
        Sentence(
            Clause(
                ANNA,
                VERBS["give"],
                recipient=phrase("child", plural=True),
                object=phrase("apple", "a"),
                frequency=Adverbial("often", "oft"),
            )
        ),
        "Anna often gives the children an apple.",
        "Anna gibt den Kindern oft einen Apfel.",
    ),
    (
        Sentence(
            Clause(
                ANNA,
                VERBS["go"],
                "future",
                place=(prepositional_phrase("into", "in", "acc", phrase("house")),),
            ),
            "statement",
            lexicon.IF,
            Clause(phrase("weather"), lexicon.BE, predicate=Predicate(ADJECTIVES["good"])),
            True,
        ),
        "If the weather is good, Anna will go into the house.",
        "Wenn das Wetter gut ist, wird Anna ins Haus gehen.",
    ),
    (
        Sentence(
            Clause(PAUL, VERBS["sell"], "past", phrase("lamp")),
            "statement",
            lexicon.BECAUSE,
            Clause(Pronoun("it", "f"), lexicon.BE, "past", predicate=Predicate(ADJECTIVES["old"])),
        ),
        "Paul sold the lamp because it was old.",
        "Paul hat die Lampe verkauft, weil sie alt war.",
    ),
    (
        Sentence(
            Clause(
                phrase("dog", owner=phrase("teacher")),
                lexicon.BE,
                predicate=Predicate(ADJECTIVES["old"], than=phrase("cat")),
            )
        ),
        "The dog of the teacher is older than the cat.",
        "Der Hund des Lehrers ist älter als die Katze.",
    ),
    (
        Sentence(
            Clause(PAUL, VERBS["dance"]),
            "statement",
            lexicon.BUT,
            Clause(ANNA, VERBS["get"], modal=MODALS["wollen"]),
        ),
        "Paul dances, but Anna wants to get up.",
        "Paul tanzt, aber Anna will aufstehen.",
    ),
    (
        Sentence(
            Clause(
                phrase("doctor", "a"),
                VERBS["visit"],
                object=Pronoun("we"),
                time=Adverbial("today", "heute"),
                time_first=True,
            )
        ),
        "Today a doctor visits us.",
        "Heute besucht uns ein Arzt.",
    ),
]


@pytest.mark.parametrize(("sentence", "english", "german_text"), PAIRS)
def test_translation(sentence, english, german_text):
    assert translate(sentence) == (english, german_text)


def test_a_preposition_contracts_with_an_article_but_not_with_a_relative_pronoun():
    girl = phrase("girl")
    assert german.contract("an", girl.de("acc")) == "ans Mädchen"
    assert german.contract("an", Relative(girl).de("acc")) == "an das"


def test_english_determines_german():
    sampler = Sampler(Random(11))
    german_of: dict[str, str] = {}
    for _ in range(15_000):
        english, german_text = translate(sampler.sentence())
        assert german_of.setdefault(english, german_text) == german_text


def test_every_sentence_is_cased_punctuated_and_spaced():
    for pair in islice(sentence_pairs(3), 3000):
        for text in pair:
            assert not text[0].islower() and text[-1] in ".?!"
            assert text[-2] not in ",.?! "
            assert "  " not in text and " ," not in text and ",," not in text
