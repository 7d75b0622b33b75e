"""Fetch a file over HTTP: resumed where it broke off, tried again, checked against its SHA-256."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from preprocess.files import sha256
from tiednmt.errors import UserError

ATTEMPTS = 6
TIMEOUT_SECONDS = 30
BLOCK_BYTES = 1 << 16
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
USER_AGENT = "tiednmt"  # some servers turn away the one of Python's library


def fetch_all(url: str, folder: Path, expected_sha256: dict[str, str]) -> None:
    """Download the files of these names from ``url`` into ``folder``, as :func:`fetch` does."""
    for name, digest in expected_sha256.items():
        fetch(f"{url.rstrip('/')}/{name}", folder / name, digest)


def fetch(url: str, path: Path, expected_sha256: str, first_wait: float = 1.0) -> None:
    """Download ``url`` to ``path``; nothing is done where the right file is there already.

    What has arrived is kept as ``<path>.part`` and gone on with, also by a later call. Broken
    connections and errors of the server are tried again, after ``first_wait`` seconds and then
    twice as long each time.

    :raises UserError: where the server has no such file, cannot be reached, or sends another one.
    """
    if path.exists() and sha256(path) == expected_sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    resumed = part.exists()
    _fetch_part(url, part, first_wait)
    if sha256(part) != expected_sha256 and resumed:
        # What lay there may have been the start of something else.
        part.unlink()
        _fetch_part(url, part, first_wait)
    found = sha256(part)
    if found != expected_sha256:
        part.unlink()
        raise UserError(
            f"{url}: the file has SHA-256 {found}, not {expected_sha256}; it was deleted."
            " It may have changed at its source, or a proxy may have sent a page in its place"
        )
    os.replace(part, path)


def _fetch_part(url: str, part: Path, first_wait: float) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(first_wait * 2 ** (attempt - 1))
        try:
            _continue(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file
                part.unlink(missing_ok=True)
            elif error.code not in TRY_AGAIN:
                raise UserError(f"{url}: the server answers {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        except ValueError:
            raise UserError(f"{url}: not a web address") from None
    raise UserError(
        f"{url}: not downloaded after {ATTEMPTS} attempts ({reason}); what arrived is kept,"
        " so that the same command goes on from there"
    )


def _continue(url: str, part: Path) -> None:
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
            while block := answer.read(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    arrived = part.stat().st_size
    if total is not None and arrived < total:
        raise ConnectionError(f"connection closed after {arrived} of {total} bytes")
