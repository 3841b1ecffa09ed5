"""Autoinstall: answers for subiquity, bare or inside the user-data of cloud-init.

The keys are those of its reference ("Autoinstall configuration reference manual").
"""

from __future__ import annotations

import re

from imagebuilder import schema
from imagebuilder.answers.model import Answers, Place, Placement
from imagebuilder.errors import ConfigError
from imagebuilder.process import Runner

SCHEMA = "answers/schemas/autoinstall.json"
HEADER = "#cloud-config"
KEY = "autoinstall"
USER_DATA, META_DATA = "user-data", "meta-data"
DIRECTORY = "nocloud"
CRYPTED = re.compile(r"\$[0-9a-z]+\$.+")


def check(text: str, where: str, run: Runner) -> tuple[str, ...]:
    """Raise ConfigError for what subiquity would not take."""
    del run
    document = schema.parse(text, where=where)
    if not isinstance(document.value, dict):
        raise ConfigError("is no mapping of keys", where=where)
    inside = KEY in document.value
    if inside and not text.startswith(HEADER):
        hint = f"begin it with {HEADER}"
        raise ConfigError("is not taken for user-data by cloud-init", where=where, hint=hint)
    own = schema.inner(document, KEY) if inside else document
    value = schema.check(own, SCHEMA)
    if not inside and text.startswith(HEADER):
        raise ConfigError(f"has no key {KEY}", where=where, hint=f"put the answers below {KEY}:")
    _check_password(own, value)
    if "identity" not in value and "users" not in value.get("user-data", {}):
        hint = "add identity, or users in user-data"
        raise ConfigError("names no user to make", where=where, hint=hint)
    return ()


def wrapped(text: str) -> str:
    """The answers as user-data, whichever they were."""
    if text.startswith(HEADER):
        return text
    lines = [f"  {line}" if line.strip() else "" for line in text.splitlines()]
    return "\n".join((HEADER, f"{KEY}:", *lines, ""))


def placement(answers: Answers, place: Place, base: str) -> Placement:
    """Where they go: cloud-init reads them from a directory."""
    pair = ((USER_DATA, answers.content), (META_DATA, b""))
    if place is Place.NETWORK:
        return Placement(place=place, files=pair, arguments=(KEY, f"ds=nocloud-net;s={base}/"))
    files = tuple((f"{DIRECTORY}/{name}", content) for name, content in pair)
    arguments = (KEY, f"ds=nocloud;s=/cdrom/{DIRECTORY}/")
    return Placement(place=place, files=files, arguments=arguments)


def _check_password(document: schema.Document, value: dict[str, object]) -> None:
    identity = value.get("identity")
    password = identity.get("password", "") if isinstance(identity, dict) else ""
    if password and not CRYPTED.fullmatch(password):
        raise ConfigError(
            "in 'identity.password': not an encrypted password",
            where=document.place(("identity", "password")),
            hint="encrypt it: openssl passwd -6",
        )
