"""Tokens by Moses' rules, and text out of them again."""

import random

import pytest
from sacremoses import MosesTokenizer

from tiednmt.text.moses import JOINER, MosesTokeniser, detokenise
from tiednmt.text.normalise import normalise


def there_and_back(line, language):
    return detokenise(MosesTokeniser(language)(line).split(), language)


BACK = {
    "en": [
        "Words with soft\u00adhyphens, zero\u200bwidth and joined\u200dletters stay whole.",
        "Ask @name_x or name@example.org about M&S, Q&A, R&B and AT&T.",
        "Face++ and C++ won 14½-13½, 5&4 up.",
        "@@ -1,3 +1,4 @@ is a hunk; foo@@ bar@@ ▁x a▁b ▁ are marks.",
        "See http://example.org/a_b?c=1&d=2#e, www.example.org/~x or C:\\dir\\file.txt now.",
        "“It’s fine,” she said (or so): ‘well’…",
        '"That was it," he said. "I\'m done!"',
        'He said, "Because he must.',  # a quotation that goes on in the next paragraph
        'it was the end of shopping."',  # and its end
        '"We can," he said, "and will." So they "did".',
        "The dogs' house and Waters' house weren't James's.",
        "It is 4' of rock.",
        "rock 'n' roll",
        "In the '90s, for 'em.",
        "It says 'no way' here.",
        "wait...no, and so on... yes",
        "word—word and word — word",
        "a*b 2^3 50§ §5 5€ <b>bold</b> x|y ~ tilde",
        "Emoji 👨\u200d👩\u200d👧 ❤️ 🇩🇪🇫🇷 👍🏽👍🏽!",
        "안녕하세요 세계 and हैलो दुनिया। and 猫看见狗。",
        "(EU)-based 24/7 $5 #8 7:30 20°C",
        "A&amp;M, &#124; and <unk> <s> </s> <pad>.",
    ],
    "de": [
        "Trenn\u00adzeichen, McDonald's, Max' Buch und „X“-Banner.",
        "Er sagte: „Was ‚soll‘ das?“ Student_innen",
        "»So« und «so», 3,5% und Rock-'n'-Roll.",
    ],
    "cs": ["Řekl: „Ano.“ Dres s číslem 4.", "McDonald's a 'ano' i slip'n'slide."],
    "fr": ["L'homme d'aujourd'hui n'a qu'un œuf : est-ce « l'été » ?", "d'11 h à 12 h"],
    "it": ["Un po' dell'acqua, c'è."],
    "ru": ["Он сказал: «Да», и ушёл — к ним.", "О'Генри"],
    "es": ["¿Qué? ¡Hola! «sí»"],
    "fi": ["EU:n ja USA:ssa: hän sanoi ”ei”."],
    "nl": ["'s Avonds de foto's van Jan."],
    "tr": ["Bottas'ın ve İstanbul'da ‘evet’."],
}


@pytest.mark.parametrize(
    ("language", "line"), [(code, line) for code, lines in BACK.items() for line in lines]
)
def test_text_comes_back_as_it_was(language, line):
    assert there_and_back(line, language) == line


@pytest.mark.parametrize(
    ("line", "tidy"),
    [
        ("A man , who runs .", "A man, who runs."),
        ("( in red ) is 50 % off", "(in red) is 50% off"),
        ("one,two", "one, two"),
    ],
)
def test_careless_spaces_are_tidied(line, tidy):
    assert there_and_back(line, "en") == tidy


def test_ordinary_text_has_the_tokens_of_sacremoses():
    lines = [
        "The women's dog doesn't bark; it's 3,000 m (or so) away at 11:27, isn't it?",
        'A&M is a #8 shirt, and/or $5 at 50% of "it"... `so` on=f x_y',
        "Der Junge („Max“) mag das McDonald's-Menü – z.B. heute! L'été «non» 360° ’em Joe‘s",
        "@@",
    ]
    for language in ("en", "de", "fr", "xx"):
        for line in lines:
            expected = MosesTokenizer(language).tokenize(line, escape=False, return_str=True)
            assert MosesTokeniser(language)(line) == expected


def test_without_joiners_there_are_none():
    line = "@name likes C++ and soft\u00adhyphens"
    expected = MosesTokenizer("en").tokenize(line, escape=False, return_str=True)
    assert MosesTokeniser("en", joiners=False)(line) == expected
    assert JOINER not in expected


def test_words_are_not_torn_apart():
    tokens = MosesTokeniser("en")("soft\u00adhyphen a\u200bb 👨\u200d👩 ❤️ สวัสดี हिन्दी m² x").split()
    assert tokens == ["soft\u00adhyphen", "a\u200bb", "👨\u200d👩", "❤️", "สวัสดี", "हिन्दी", "m²", "x"]


def test_any_words_of_names_and_symbols_come_back():
    chance = random.Random(1)
    pieces = [*"x9ß+@*~|▁§½€—\u00ad", "name", "@@"]
    tokenisers = {code: MosesTokeniser(code) for code in ("en", "de", "cs")}
    for _ in range(2000):
        words = ["".join(chance.choices(pieces, k=chance.randint(1, 6))) for _ in range(3)]
        line = normalise(" and ".join(f"w{word}w" for word in words))
        for code, tokenise in tokenisers.items():
            assert detokenise(tokenise(line).split(), code) == line


def test_detokenising_takes_anything():
    chance = random.Random(2)
    tokens = ["a", "B", "'", '"', "'s", "&", "amp", ";", JOINER, f"{JOINER}x", f"x{JOINER}", "-y"]
    tokens += [*"().„“”‘’«»#/5@:狗", "..."]
    for _ in range(3000):
        chosen = chance.choices(tokens, k=chance.randint(0, 9))
        for language in ("en", "fr", "de", "fi"):
            text = detokenise(chosen, language)
            assert "".join(text.split()).replace(JOINER, "") == "".join(chosen).replace(JOINER, "")
