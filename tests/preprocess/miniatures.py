"""The archives of WMT14, WMT17 and IWSLT14 in small: same names, formats and nesting."""

from __future__ import annotations

import gzip
import html
import io
import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from random import Random

LANGUAGES = ("en", "de", "fr")
NOUNS = [("dog", "Hund", "chien"), ("man", "Mann", "homme"), ("boy", "Junge", "garçon")]
NOUNS += [("bus", "Bus", "bus"), ("hat", "Hut", "chapeau"), ("tree", "Baum", "arbre")]
VERBS = [("sees", "sieht", "voit"), ("finds", "findet", "trouve"), ("likes", "mag", "aime")]
ARTICLES = [("The", "Der", "Le"), ("A", "Ein", "Un"), ("This", "Dieser", "Ce")]

Sentence = tuple[str, str, str]  # in the order of LANGUAGES
Members = dict[str, bytes]


def _sentences() -> Iterator[Sentence]:
    parts = list(product(ARTICLES, NOUNS, VERBS, NOUNS))
    Random(1).shuffle(parts)
    for article, one, verb, other in parts:
        yield tuple(
            f"{article[n]} {one[n]} {verb[n]} {last} {other[n]}."
            for n, last in enumerate(("a", "einen", "un"))
        )  # type: ignore[misc]


class Miniatures:
    """Archives with a few sentences each; ``corpora`` says which, ``write`` packs them."""

    def __init__(self) -> None:
        sentences = _sentences()
        self.corpora = {
            "europarl": list(islice(sentences, 60)),
            "commoncrawl": list(islice(sentences, 40)),
            "news": list(islice(sentences, 30)),
            "un": list(islice(sentences, 20)),
            "giga": list(islice(sentences, 20)),
            "rapid": list(islice(sentences, 10)),
            "talks": list(islice(sentences, 60)),
            "newstest2013": list(islice(sentences, 6)),
            "newstest2016": list(islice(sentences, 6)),
            "test": [
                ('"Q&A": is 1 < 2?', "„Q&A“: ist 1 < 2?", "« Q&A » : 1 < 2 ?"),
                *islice(sentences, 6),
            ],
        }
        # what must not be trained on
        self.corpora["commoncrawl"] += [
            self.corpora["europarl"][3],
            self.corpora["commoncrawl"][0],
            ("", "Ein Hund.", "Un chien."),
            ("dog " * 101, "Hund " * 101, "chien " * 101),
            ("dog", "Hund " * 20, "chien " * 20),
            ("The dog sees.", "Собака видит.", "Собака видит."),
        ]
        self.spoilt: dict[str, Members] = {}

    def side(self, corpus: str, language: str) -> list[str]:
        """The sentences of a corpus in one language."""
        return [sentence[LANGUAGES.index(language)] for sentence in self.corpora[corpus]]

    def text(self, corpus: str, language: str) -> bytes:
        """The same as a file."""
        return "".join(line + "\n" for line in self.side(corpus, language)).encode()

    def sgm(self, corpus: str, language: str, kind: str) -> bytes:
        """The same as segments of two documents, entities escaped."""
        lines = [f'<{kind} setid="{corpus}" srclang="any" trglang="{language}">']
        for start, document in ((0, "bbc.1"), (3, "spiegel.2")):
            lines.append(f'<doc sysid="ref" docid="{document}" genre="news" origlang="en">\n<p>')
            part = self.side(corpus, language)[start : 3 if start == 0 else None]
            for number, line in enumerate(part, start=1):
                lines.append(f'<seg id="{number}">{html.escape(line, quote=start == 0)}</seg>')
            lines.append("</p>\n</doc>")
        return "\n".join([*lines, f"</{kind}>", ""]).encode()

    def archives(self) -> dict[str, Members]:
        """Name of an archive → name in it → content."""

        def bitexts(corpus: str, name: str, others: str = "de fr") -> Members:
            return {
                f"{name}.{other}-en.{language}": self.text(corpus, language)
                for other in others.split()
                for language in (other, "en")
            }

        def test_set(folder: str, corpus: str, year: int, pairs: str) -> Members:
            members = {}
            for pair in pairs.split():
                for language in (pair[:2], pair[2:]):
                    for role, kind in (("src", "srcset"), ("ref", "refset")):
                        name = f"{folder}/newstest{year}-{pair}-{role}.{language}.sgm"
                        members[name] = self.sgm(corpus, language, kind)
            return members

        talks: Members = {}
        for language in ("de", "en"):
            talks[f"de-en/train.tags.de-en.{language}"] = self.talks(language)
            for name in (
                "TED.dev2010",
                "TEDX.dev2012",
                "TED.tst2010",
                "TED.tst2011",
                "TED.tst2012",
            ):
                content = self.sgm("test", language, "refset").replace(b"bbc", name.encode())
                talks[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = (
                    b'<?xml version="1.0" encoding="UTF-8"?>\n' + content
                )
        archives = {
            "training-parallel-europarl-v7.tgz": {
                "training/europarl-v7.cs-en.cs": b"Pes.\n" * 500,
                **bitexts("europarl", "training/europarl-v7"),
            },
            "training-parallel-commoncrawl.tgz": {
                "commoncrawl.de-en.annotation": b"http://example.org\n",
                **bitexts("commoncrawl", "commoncrawl"),
            },
            "training-parallel-nc-v9.tgz": bitexts("news", "training/news-commentary-v9"),
            "training-parallel-un.tgz": bitexts("un", "un/undoc.2000", "fr"),
            "training-giga-fren.tar": {
                f"giga-fren.release2.fixed.{language}.gz": gzip.compress(
                    self.text("giga", language), mtime=0
                )
                for language in ("en", "fr")
            },
            "dev.tgz": {
                **{
                    f"dev/newstest2013.{language}": self.text("newstest2013", language)
                    for language in LANGUAGES
                },
                **test_set("dev", "newstest2016", 2016, "deen"),
            },
            "test-full.tgz": test_set("test-full", "test", 2014, "deen fren"),
            "training-parallel-nc-v12.tgz": bitexts("news", "training/news-commentary-v12", "de"),
            "rapid2016.tgz": bitexts("rapid", "rapid2016", "de"),
            "test.tgz": test_set("test", "test", 2017, "deen ende"),
            "de-en.tgz": talks,
        }
        for archive, members in self.spoilt.items():
            archives[archive] |= members
        return archives

    def talks(self, language: str) -> bytes:
        """The training text of TED talks with its tags."""
        lines = ["<url>http://www.ted.com/talks/one.html</url>", "<keywords>talks, one</keywords>"]
        lines += ["<talkid>1</talkid>", "<title>The dog.</title>"]
        lines += ["<description>TED Talk Subtitles: a dog.</description>"]
        lines += [f" {line} " for line in self.side("talks", language)[2:]]
        return "".join(line + "\n" for line in lines).encode()

    def write(self, folder: Path) -> Path:
        """Pack all archives into ``folder``."""
        folder.mkdir(exist_ok=True)
        for name, members in self.archives().items():
            pack(folder / name, members)
        return folder


def pack(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a tar archive, compressed where its name says so, the same bytes each time."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    packed = path.suffix in (".tgz", ".gz")
    path.write_bytes(gzip.compress(content.getvalue(), mtime=0) if packed else content.getvalue())
