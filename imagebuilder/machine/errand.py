"""A command for a machine to run, which reports on the serial console.

Its lines begin with a word of their own, so that the kernel's and a getty's between them do no
harm. The port is opened anew for each line, because a getty that starts meanwhile hangs up
whoever has it open, and the exit status is said three times for the same reason.

The command runs after cloud-init, not within it, so that it may wait for the boot to end
(`systemctl is-system-running --wait`, `cloud-init status --wait`).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

FILE = "/run/imagebuilder-errand"


@dataclass(frozen=True, slots=True)
class Errand:
    """A shell command for a machine to run, and the word that marks its lines on the console."""

    command: str
    token: str

    @property
    def finished(self) -> re.Pattern[str]:
        """The line that says the command's exit status."""
        return re.compile(rf"{self.token} exited with (\d+)")

    def script(self) -> str:
        """The program for cloud-init: it hands the command on and ends."""
        return f"""\
#!/bin/sh
cat >{FILE} <<'END OF ERRAND'
{self.report()}END OF ERRAND
if command -v systemd-run >/dev/null && [ -d /run/systemd/system ]; then
    exec systemd-run --no-block --collect --setenv=HOME=/root /bin/sh {FILE}
fi
setsid /bin/sh {FILE} >/dev/null 2>&1 </dev/null &
"""

    def report(self) -> str:
        """The program that runs the command and reports on the serial port."""
        return f"""\
cloud-init status --wait >/dev/null 2>&1
for port in /dev/ttyS0 /dev/ttyAMA0 /dev/console; do
    if (printf '\\r\\n' >"$port") 2>/dev/null; then
        break
    fi
done
say() {{
    printf '%s %s\\r\\n' {self.token} "$1" >"$port"
}}
status=$(mktemp)
say begins
{{
    sh -c {shlex.quote(self.command)} </dev/null 2>&1
    echo "$?" >"$status"
}} | while IFS= read -r line || [ -n "$line" ]; do
    say "| $line"
done
for again in 1 2 3; do
    say "exited with $(cat "$status")"
    sleep 1
done
rm -f "$status"
"""

    def output(self, console: str) -> str:
        """What the command wrote, out of the console's text."""
        lines = re.findall(rf"{self.token} \| (.*)", console)
        return "".join(f"{line}\n" for line in lines)
