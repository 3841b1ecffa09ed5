"""Signatures by GnuPG with a key of the user's, who is never asked for anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import CommandError, ConfigError
from imagebuilder.process import Command, Runner, find, missing

HOMES = ("GNUPGHOME", "HOME")
QUIET = ("--batch", "--yes", "--no-tty", "--quiet", "--pinentry-mode", "loopback")
NO_PASSPHRASE = ("--passphrase", "")  # a key that needs one fails instead of asking
CREATED = 5  # the field of a "sec" line that says when, in seconds since 1970


def check(key: str, run: Runner = process.run) -> int:
    """When the key was created; raise ConfigError if there is no such secret key."""
    if not find("gpg"):
        raise missing("gpg")
    try:
        listed = run(_gpg("--with-colons", "--list-secret-keys", key)).output
    except CommandError as error:
        home = os.environ.get("GNUPGHOME", "~/.gnupg")
        raise ConfigError(f"there is no secret key {key!r}", where=home) from error
    rows = [line.split(":") for line in listed.splitlines() if line.startswith("sec:")]
    if not rows:
        raise ConfigError(f"there is no secret key {key!r}", where="gpg")
    return int(rows[0][CREATED] or 0)


def detached(
    content: bytes | Path,
    key: str,
    epoch: int,
    run: Runner = process.run,
    *,
    armour: bool = True,
) -> bytes:
    """A signature of the content, or of the file that has it; raise as `_made` does."""
    how = ("--armor", "--detach-sign") if armour else ("--detach-sign",)
    return _made(content, how, key, epoch, run)


def clear(content: bytes, key: str, epoch: int, run: Runner = process.run) -> bytes:
    """The content, which is text, inside a signed message; raise as `_made` does."""
    return _made(content, ("--clearsign",), key, epoch, run)


def public(key: str, run: Runner = process.run) -> bytes:
    """The public key, armoured, for those who are to trust it."""
    return run(_gpg("--armor", "--export", key)).output.encode()


def _made(content: bytes | Path, how: tuple[str, ...], key: str, epoch: int, run: Runner) -> bytes:
    """Sign, dated `epoch` or when the key was created, if that is later.

    Raise ConfigError if the key cannot be used without asking for its passphrase.
    """
    moment = max(epoch, check(key, run))
    with tempfile.TemporaryDirectory(prefix="imagebuilder-sign-") as name:
        source, target = Path(name, "content"), Path(name, "signature")
        if isinstance(content, Path):
            source = content
        else:
            source.write_bytes(content)
        when = ("--faked-system-time", f"{moment}!")
        words = (*when, *NO_PASSPHRASE, "--local-user", key, *how, "-o", str(target), str(source))
        try:
            run(_gpg(*words))
        except CommandError as error:
            said = error.what.strip().splitlines()[-1]
            hint = "keys with a passphrase need gpg-agent to know it (gpg-preset-passphrase)"
            raise ConfigError(f"cannot sign: {said}", where=f"key {key}", hint=hint) from error
        return target.read_bytes()


def _gpg(*words: str) -> Command:
    return Command(("gpg", *QUIET, *words), env=_homes(os.environ))


def _homes(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in HOMES if name in environment}
