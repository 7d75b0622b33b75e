"""Fetch files over HTTP: resumed where they broke off, tried again, checked by their hashes."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from tqdm import tqdm

from tiednmt.errors import UserError
from tiednmt.files import sha256, write_whole
from tiednmt.text.lines import read_lines

ATTEMPTS = 6
CONNECTIONS = 4
TIMEOUT_SECONDS = 30
SECONDS_BEFORE_BAR = 2  # small files are checked in less
BLOCK_BYTES = 1 << 16
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
USER_AGENT = "tiednmt"  # some servers turn away the one of Python's library
SUMS = "SHA256SUMS"
ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}  # by hexadecimal digits


@dataclass(frozen=True)
class Download:
    """A published file and its hash (MD5, SHA-1 or SHA-256), None if none was published."""

    url: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        """Its name on disk."""
        return self.url.rsplit("/", 1)[-1]

    def at(self, address: str) -> Download:
        """The same file at another address."""
        return replace(self, url=f"{address.rstrip('/')}/{self.name}")


def files_at(address: str, checksums: dict[str, str]) -> list[Download]:
    """Files of one address, by name."""
    return [Download(name, checksum).at(address) for name, checksum in checksums.items()]


def at_address(downloads: Sequence[Download], address: str | None) -> list[Download]:
    """The same files at one address, or where they are published if there is none."""
    return [item.at(address) if address else item for item in downloads]


def fetch_all(downloads: Sequence[Download], folder: Path, first_wait: float = 1.0) -> None:
    """Download the files into ``folder`` over a few connections at a time, as :func:`fetch` does.

    The SHA-256 of each is written to ``SHA256SUMS`` there. A file that has no published hash must
    be the one recorded there, from the second time on.

    Raises:
        UserError: the disk has too little space, before anything is fetched, or where a file
            cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recorded = _read_sums(folder / SUMS)
    expected = {item: item.checksum or recorded.get(item.name) for item in downloads}
    missing = [item for item in downloads if not _is_there(folder / item.name, expected[item])]
    _require_space(missing, folder)
    stop = Event()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = [
            pool.submit(fetch, item.url, folder / item.name, expected[item], first_wait, stop)
            for item in missing
        ]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    for item in downloads:
        if item in missing or item.name not in recorded:
            recorded[item.name] = sha256(folder / item.name)
            if item.checksum is None:
                print(
                    f"{item.name}: no hash was published; its SHA-256 is now in {folder / SUMS}",
                    file=sys.stderr,
                )
    with write_whole(folder / SUMS) as file:  # as sha256sum --check reads them
        file.writelines(f"{digest}  {name}\n" for name, digest in sorted(recorded.items()))


def fetch(
    url: str,
    path: Path,
    checksum: str | None,
    first_wait: float = 1.0,
    stop: Event | None = None,
) -> None:
    """Download ``url`` to ``path``; nothing is done where the right file is there already.

    What has arrived is kept as ``<path>.part``; a later call continues it. Broken
    connections and errors of the server are tried again, after twice the wait each time.

    Args:
        url: the address of the file.
        path: the name it gets.
        checksum: MD5, SHA-1 or SHA-256; None takes what comes.
        first_wait: seconds before the second attempt.
        stop: ends the download early once it is set.

    Raises:
        UserError: the server has no such file, cannot be reached, or sends another one.
    """
    if _is_there(path, checksum):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    stop = stop or Event()
    resumed = part.exists()
    _fetch_part(url, part, first_wait, stop)
    if resumed and not _is_there(part, checksum):
        # What lay there may have been the start of something else.
        part.unlink()
        _fetch_part(url, part, first_wait, stop)
    if not _is_there(part, checksum):
        algorithm, digest = _digest(part, checksum)
        part.unlink()
        raise UserError(
            f"{url}: the file has {algorithm} {digest}, not {checksum}; it was deleted."
            " It may have changed at its source, or a proxy may have sent a page in its place"
        )
    os.replace(part, path)


def _is_there(path: Path, checksum: str | None) -> bool:
    """Whether the file is there and, where that can be told, the right one."""
    return path.exists() and (checksum is None or _digest(path, checksum)[1] == checksum)


def _digest(path: Path, like: str | None) -> tuple[str, str]:
    """The algorithm of ``like``, as it is written, and the file's hash by it."""
    algorithm = ALGORITHMS[len(like or "0" * 64)]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with (
        open(path, "rb") as file,
        tqdm(
            desc=f"check {path.name}",
            total=path.stat().st_size,
            unit="B",
            unit_scale=True,
            delay=SECONDS_BEFORE_BAR,
            disable=None,
        ) as bar,
    ):
        while block := file.read(1 << 20):
            digest.update(block)
            bar.update(len(block))
    return algorithm.upper().replace("SHA", "SHA-"), digest.hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    """Name → SHA-256."""
    lines = list(read_lines(path)) if path.exists() else []
    if (bad := next((line for line in lines if line.count("  ") != 1), None)) is not None:
        raise UserError(f"{path}: damaged ({bad[:80]!r} is no hash and name); delete it")
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def _require_space(missing: Sequence[Download], folder: Path) -> None:
    """Fail before hours of downloading and not after; servers that name no size are trusted."""
    needed = 0
    for item in missing:
        part = folder / f"{item.name}.part"
        needed += max(0, _size(item.url) - (part.stat().st_size if part.exists() else 0))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {needed / 1e9:.1f} GB are to download, and {free / 1e9:.1f} GB are"
            " free; make room or choose another --dest"
        )


def _size(url: str) -> int:
    """Bytes of the file, 0 where the server does not say."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT}, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return int(answer.headers.get("Content-Length") or 0)
    except (OSError, http.client.HTTPException, ValueError):
        return 0  # what is wrong shows when it is fetched


def _fetch_part(url: str, part: Path, first_wait: float, stop: Event) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            stop.wait(first_wait * 2 ** (attempt - 1))
        try:
            _continue(url, part, stop)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing of the file lies behind the part
                if error.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                    return
                part.unlink()  # it is longer than the file
            elif error.code not in TRY_AGAIN:
                raise UserError(f"{url}: the server answers {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        except OSError as error:
            raise UserError(f"{part}: cannot be written: {error.strerror}") from error
        except UserError:
            raise
        except ValueError:
            raise UserError(f"{url}: not a web address") from None
    raise UserError(
        f"{url}: not downloaded after {ATTEMPTS} attempts ({reason}); what arrived is kept,"
        " so that the same command continues from there"
    )


def _continue(url: str, part: Path, stop: Event) -> None:
    """Append what is missing to ``part``; start over where the server sends the whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(
                desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, disable=None
            ) as bar,
        ):
            while not stop.is_set() and (block := answer.read(BLOCK_BYTES)):
                file.write(block)
                bar.update(len(block))
    arrived = part.stat().st_size
    if stop.is_set():
        raise UserError(f"{url}: stopped; the same command continues from there")
    if total is not None and arrived < total:
        raise ConnectionError(f"connection closed after {arrived} of {total} bytes")
