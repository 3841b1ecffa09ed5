"""A published set served: by dnsmasq (DHCP and TFTP), and by HTTP from here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from imagebuilder.errors import ConfigError, nearest
from imagebuilder.netboot import dnsmasq, publish
from imagebuilder.process import Command

LEASES = "dnsmasq.leases"  # beside the sets: addresses outlive them


class _Handler(SimpleHTTPRequestHandler):
    """Files for GET, and for POST too: Proxmox' installer asks for its answers like that."""

    def do_POST(self) -> None:
        """The file of that path; what the machine says of itself is not used."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()


def command(root: Path, interface: str = "") -> Command:
    """dnsmasq in the foreground with the configuration of the set that is served now."""
    configuration = root.resolve() / publish.CURRENT / dnsmasq.CONFIGURATION
    own = (f"--interface={interface}", "--bind-dynamic") if interface else ()
    return Command((
        "dnsmasq",
        "--keep-in-foreground",
        f"--conf-file={configuration}",
        "--log-facility=-",
        "--log-dhcp",
        "--pid-file=",
        f"--dhcp-leasefile={root.resolve() / LEASES}",
        *own,
    ))  # fmt: skip


def check(root: Path) -> Command:
    """The command by which dnsmasq checks that configuration and does no more."""
    configuration = root.resolve() / publish.CURRENT / dnsmasq.CONFIGURATION
    return Command(("dnsmasq", "--test", f"--conf-file={configuration}"))


def check_interface(name: str) -> None:
    """Raise ConfigError for a network interface that is not there: dnsmasq would wait for it."""
    there = [interface for _, interface in socket.if_nameindex()]
    if name and name not in there:
        what = f"there is no network interface {name!r}"
        hint = nearest(name, there) or f"there are: {', '.join(there)}"
        raise ConfigError(what, where="--interface", hint=hint)


@contextmanager
def by_http(root: Path, address: str, port: int) -> Generator[int, None, None]:
    """Serve what `current` leads to, whenever asked; gives the port, which is new for port 0.

    Raise ConfigError if the port cannot be had.
    """
    handler = partial(_Handler, directory=str(root / publish.CURRENT))
    try:
        server = ThreadingHTTPServer((address, port), handler)
    except OSError as error:
        where = f"{address}:{port}"
        raise ConfigError(f"cannot be listened on: {error.strerror}", where=where) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
