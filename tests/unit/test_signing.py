"""Keys that are not there are found before anything is signed."""

from __future__ import annotations

import pytest

from imagebuilder import signing
from imagebuilder.errors import CommandError, ConfigError
from imagebuilder.process import Command, Recorder, Result, find

pytestmark = pytest.mark.skipif(not find("gpg"), reason="needs gpg")
LISTED = "sec:u:255:22:ABCD:1700000000:::u:::scESC:::+:::23::0:\nuid:u::::1700000000::\n"


def test_a_key_says_when_it_was_created() -> None:
    assert signing.check("me@example.org", Recorder(gpg=LISTED)) == 1_700_000_000


def test_a_key_that_is_not_there_is_named() -> None:
    def run(command: Command) -> Result:
        raise CommandError("exit status 2", where=str(command))

    for runner in (run, Recorder(gpg="")):
        with pytest.raises(ConfigError, match=r"there is no secret key 'me@example\.org'"):
            signing.check("me@example.org", runner)


def test_nobody_is_asked_for_anything() -> None:
    run = Recorder(gpg=LISTED)
    signing.check("me@example.org", run)
    assert {"--batch", "--no-tty", "loopback"} <= set(run.commands[0].argv)
