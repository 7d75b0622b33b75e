"""BLEU of lower-cased tokens, beside sacreBLEU's own command on such text."""

import json
import subprocess
import sys

import pytest

from tiednmt.translation.tokenised import tokenised_bleu, tokens

REFERENCES = [
    "Ein Mann, z. B. der mit dem „roten“ Hut, sieht zwei Hunde.",
    "Zwei Jungen spielen in L.A. Fußball; ein dritter sieht zu.",
    "L'homme n'est pas là.",
    "Die T-Shirt-Verkäuferin lacht (laut)!",
]
HYPOTHESES = [
    'ein Mann, der mit dem "roten" Hut, sieht zwei Katzen.',
    "Zwei Jungen spielen in L.A. Fußball; ein Dritter sieht zu.",
    "L'Homme n'est pas la.",
    "Die T-Shirt-Verkäuferin lacht (laut)!",
]


@pytest.mark.parametrize(
    ("language", "line", "expected"),
    [
        ("de", REFERENCES[0], 'ein mann , z. b. der mit dem " roten " hut , sieht zwei hunde .'),
        ("fr", REFERENCES[2], "l' homme n' est pas là ."),
        ("en", "Don't go to the Boys' Club.", "don 't go to the boys ' club ."),
        ("de", REFERENCES[3], "die t-shirt-verkäuferin lacht ( laut ) !"),
    ],
)
def test_tokens_by_the_rules_of_moses(language, line, expected):
    assert tokens(line, language) == expected


def test_the_score_is_that_of_the_sacrebleu_command(tmp_path):
    sides = {"references": REFERENCES, "hypotheses": HYPOTHESES}
    for name, lines in sides.items():
        text = "".join(tokens(line, "de") + "\n" for line in lines)
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "hypotheses"]
    command += ["--tokenize", "none", "-lc", "--force"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    expected = json.loads(done.stdout)
    found = tokenised_bleu(HYPOTHESES, [REFERENCES], "de")
    assert found.score == pytest.approx(expected["score"], abs=0.05)  # of one decimal
    assert 0 < found.score < 100 and len(found.influences) == 4
    assert "|case:lc|" in found.signature and "|tok:none|" in found.signature
    assert "|text:lc.norm.tok.de|sacremoses:" in found.signature


def test_case_and_the_shape_of_quotation_marks_do_not_count():
    shouted = [line.upper().replace("„", '"').replace("“", '"') for line in REFERENCES]
    lower = [line.lower() for line in REFERENCES]
    assert tokenised_bleu(lower, [REFERENCES], "de").score == 100
    assert tokenised_bleu([shouted[0]], [[REFERENCES[0]]], "de").score == 100
