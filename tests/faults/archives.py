"""Archives of corpora whose members are not as published."""

from __future__ import annotations

import io
import tarfile
import zipfile
from random import Random

_NAMES = (
    *("aclImdb/train/pos/1_9.txt", "aclImdb/test/neg/2_1.txt", "aclImdb/train/unsup/49000_0.txt"),
    *(f"aclImdb/train/pos/{'9' * 5000}_9.txt", "../../../out.txt", "/out.txt", "a\x1b[31m.txt", ""),
)
_CONTENTS = (b"A film .<br />Good .", b"", b"\xff\xfe", b"a\0b", b"a b\n" * 1000, b"x" * (5 << 20))


def archive(chance: Random) -> tuple[str, bytes]:
    """The command that reads it, and its bytes."""
    return ("reviews", _tar(chance)) if chance.random() < 0.5 else ("articles", _zip(chance))


def _tar(chance: Random) -> bytes:
    kinds = (*(tarfile.REGTYPE,) * 6, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
    written = io.BytesIO()
    way, form = chance.choice(("w:gz", "w:gz", "w:xz", "w")), chance.choice((0, 1, 2))
    with tarfile.open(fileobj=written, mode=way, format=form) as archive:  # type: ignore[call-overload]
        for _ in range(chance.randint(0, 5)):
            member, content = tarfile.TarInfo(chance.choice(_NAMES)), chance.choice(_CONTENTS)
            if form == tarfile.USTAR_FORMAT:
                member.name = member.name[:90]
            member.type = chance.choice(kinds)
            member.linkname = chance.choice(("/etc/hostname", member.name))
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return written.getvalue()


def _zip(chance: Random) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for subset in ("train", "valid", "test"):
            method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
            name = f"wikitext-2/wiki.{subset}.tokens" if chance.random() < 0.9 else "../out"
            archive.writestr(name, chance.choice(_CONTENTS), method)
    content = bytearray(written.getvalue())
    if chance.random() < 0.4:  # in the directory and before the data: a flag or another method
        field, value = chance.choice(((0, 1), (0, 8), (2, 97), (2, 1)))
        for magic, start in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(magic) + start + field] = value
    return bytes(content)
