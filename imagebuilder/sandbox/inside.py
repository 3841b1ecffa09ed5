"""The supervisor: builds the sandbox's view, then runs commands in it as its pid 1.

builder -> supervisor (new namespaces) -> pid 1 -> command. The builder holds the other end of
one socket; the kernel closes it however the builder dies, pid 1 then exits, and with it the
kernel kills every process of the PID namespace and drops every mount of the mount namespace.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import stat
import termios
import time
from contextlib import suppress
from pathlib import Path

from imagebuilder.sandbox import kernel, wire
from imagebuilder.sandbox.kernel import Mount, Namespace
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.wire import Exited, Kind, Request

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# For hooks that mount images or make tunnels; a user namespace may have none of them.
NODES = (
    ("loop-control", stat.S_IFCHR | 0o660, 10, 237),
    *((f"loop{number}", stat.S_IFBLK | 0o660, 7, number) for number in range(64)),
    ("fuse", stat.S_IFCHR | 0o666, 10, 229),
    ("net/tun", stat.S_IFCHR | 0o666, 10, 200),
)
# `os.wait4` and `socket.recv_fds` import them, which they cannot once the root is another.
LOADED = (resource, array)
LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
)
KERNEL_DIRECTORIES = ("proc", "sys", "dev")
QUIET = Mount.NO_SUID | Mount.NO_DEV
TIMED_OUT = 124
DRAIN = 0.5  # seconds for output that is left when a command ends; a daemon may write for ever
LAST_WORDS = 3.0  # seconds between SIGTERM and SIGKILL for a command that ran out of time


def supervise(sandbox: Sandbox, channel: socket.socket) -> None:
    """Become the supervisor; never returns."""
    status = 125
    try:
        kernel.die_with_parent()
        os.setsid()
        _keep_only(channel.fileno())
        namespaces = Namespace.MOUNT | Namespace.PID | Namespace.IPC | Namespace.UTS
        kernel.unshare(namespaces if sandbox.network else namespaces | Namespace.NETWORK)
        init = os.fork()
        if init == 0:
            kernel.die_with_parent()
            _serve(sandbox, channel)
        channel.close()
        status = os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]) & 0xFF
    except OSError as error:
        _complain(channel, error)
    finally:
        os._exit(status)


def _serve(sandbox: Sandbox, channel: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        kernel.set_hostname("localhost")
        _host_view(sandbox.furnish) if sandbox.root is None else _root_view(sandbox)
        wire.send(channel, Kind.READY, b"")
        while (frame := wire.receive(channel)) is not None:
            request = Request(**json.loads(frame[1]))
            wire.send_value(channel, Kind.EXITED, _Running(request, channel).finish(sandbox))
    except OSError as error:
        _complain(channel, error)
    finally:
        os._exit(0)


class _Running:
    """One command, its output on the way to the builder, and the clock."""

    def __init__(self, request: Request, channel: socket.socket) -> None:
        self.channel = channel
        self.started = time.monotonic()
        self.output, output = os.pipe()
        self.captured, captured = os.pipe()
        self.wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.wake_end = wake
        lent = _receive_lent(channel) if request.lent else None
        self.limited = lent is None
        self.pid = os.fork()
        if self.pid == 0:
            _become(request, output, captured, lent)
        os.close(output)
        if lent is not None:
            os.close(lent)
        os.close(captured)

    def finish(self, sandbox: Sandbox) -> Exited:
        """Pass output on until the command has ended, the builder has, or the time is up."""
        capture, timed_out = b"", False
        end = self.started + sandbox.deadline if sandbox.deadline and self.limited else None
        sources = [self.channel.fileno(), self.output, self.captured, self.wake]
        while (ended := self._reap()) is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            ready = select.select(sources, [], [], left)[0]
            if not ready:
                os.killpg(self.pid, signal.SIGKILL if timed_out else signal.SIGTERM)
                end, timed_out = time.monotonic() + LAST_WORDS, True
            if self.channel.fileno() in ready:
                os._exit(0)  # the builder has gone; the kernel ends everything in here
            capture += self._pass_on(ready, sources)
        capture += self._drain()
        if capture:
            wire.send(self.channel, Kind.CAPTURED, capture)
        status, cpu = ended
        return Exited(
            status=TIMED_OUT if timed_out else status,
            seconds=time.monotonic() - self.started,
            cpu=cpu,
            timed_out=timed_out,
        )

    def _pass_on(self, ready: list[int], sources: list[int]) -> bytes:
        capture = b""
        if self.wake in ready:
            os.read(self.wake, 4096)
        for source in (self.output, self.captured):
            if source not in ready:
                continue
            chunk = os.read(source, 1 << 16)
            if not chunk:
                sources.remove(source)
            elif source == self.captured:
                capture += chunk
            else:
                wire.send(self.channel, Kind.OUTPUT, chunk)
        return capture

    def _drain(self) -> bytes:
        capture = b""
        sources = [self.output, self.captured]
        end = time.monotonic() + DRAIN
        while (ready := select.select(sources, [], [], 0)[0]) and time.monotonic() < end:
            capture += self._pass_on(ready, sources)
        signal.set_wakeup_fd(-1)
        for fd in (self.output, self.captured, self.wake, self.wake_end):
            os.close(fd)
        return capture

    def _reap(self) -> tuple[int, float] | None:
        while True:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return None
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                return (code if code >= 0 else 128 - code), usage.ru_utime + usage.ru_stime


def _become(request: Request, output: int, captured: int, lent: int | None) -> None:
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        terminal = lent is not None and os.isatty(lent)
        os.dup2(_stdin(request.stdin) if lent is None else lent, 0)
        os.dup2(0 if terminal else output, 1)
        os.dup2(0 if terminal else output, 2)
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if request.capture:
            os.dup2(os.dup(captured), 3)
            os.set_inheritable(3, True)  # ruff: ignore[boolean-positional-value-in-call] - the API
        os.closerange(4 if request.capture else 3, 1 << 16)
        os.umask(request.umask)
        os.chdir(request.cwd)
        _execute(request)
    except OSError as error:
        os.write(2, f"{request.argv[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _execute(request: Request) -> None:
    """Become the command; a program that does not say what runs it is bash's, as for a shell."""
    try:
        # ruff: ignore[start-process-with-no-shell] - this is what pid 1 is for
        os.execvpe(request.argv[0], request.argv, request.env)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # ruff: ignore[start-process-with-no-shell, start-process-with-partial-path] - the same
    os.execvpe("bash", ["bash", *request.argv], request.env)


def _receive_lent(channel: socket.socket) -> int:
    _, (descriptor,), _, _ = socket.recv_fds(channel, 1, 1)
    return descriptor


def _stdin(text: str) -> int:
    if not text:
        return os.open("/dev/null", os.O_RDONLY)
    fd = os.memfd_create("stdin")
    os.write(fd, text.encode("latin-1"))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _host_view(furnish: Path | None) -> None:
    """The host's files, with mounts that reach the builder's namespace but not the host's."""
    kernel.mount("", "/proc", flags=Mount.PRIVATE)
    kernel.mount("proc", "/proc", "proc", QUIET | Mount.NO_EXEC)
    if furnish is not None:
        _furnish(furnish)


def _furnish(root: Path, devices: tuple[str, ...] = DEVICES) -> None:
    """Mount the kernel's filesystems in a tree."""
    for name in KERNEL_DIRECTORIES:
        _directory(root / name)
    kernel.mount("proc", root / "proc", "proc", QUIET | Mount.NO_EXEC)
    _sys(root / "sys")
    _dev(root / "dev", devices)


def _root_view(sandbox: Sandbox) -> None:
    """Make the sandbox's root the root, with kernel filesystems of its own."""
    root = sandbox.root
    assert root is not None
    kernel.mount("", "/", flags=Mount.PRIVATE | Mount.RECURSIVE)
    kernel.mount(str(root), root, flags=Mount.BIND | Mount.RECURSIVE)
    _furnish(root, (*DEVICES, *sandbox.devices))
    _directory(root / "run")  # as it is: what one phase leaves there is for the next
    for name, destination in sandbox.links:
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).symlink_to(destination)
    for bind in sandbox.binds:
        kernel.bind(bind.source, root / bind.target.lstrip("/"), writable=bind.writable)
    os.chdir(root)
    kernel.pivot_root()


def _sys(target: Path) -> None:
    """Read-only, as programs take for the sign of a container."""
    try:
        kernel.mount("sysfs", target, "sysfs", QUIET | Mount.NO_EXEC | Mount.READ_ONLY)
    except PermissionError:  # a user namespace may not, unless the network is its own too
        kernel.mount("/sys", target, flags=Mount.BIND | Mount.RECURSIVE)


def _dev(target: Path, names: tuple[str, ...]) -> None:
    kernel.mount("tmpfs", target, "tmpfs", Mount.NO_SUID, "mode=755,size=1m")
    for name in names:
        (target / name).touch()
        kernel.mount(f"/dev/{name}", target / name, flags=Mount.BIND)
    for name in ("pts", "shm", "net"):
        (target / name).mkdir()
    options = "newinstance,ptmxmode=0666,mode=620"
    kernel.mount("devpts", target / "pts", "devpts", Mount.NO_SUID | Mount.NO_EXEC, options)
    kernel.mount("tmpfs", target / "shm", "tmpfs", QUIET, "mode=1777")
    for name, destination in LINKS:
        (target / name).symlink_to(destination)
    with suppress(PermissionError):
        for name, mode, major, minor in NODES:
            _node(target / name, mode, os.makedev(major, minor))


def _node(path: Path, mode: int, device: int) -> None:
    if not path.exists():
        os.mknod(path, mode, device)
        path.chmod(stat.S_IMODE(mode))


def _directory(path: Path, mode: int = 0o755) -> None:
    if path.is_symlink():
        raise OSError(20, f"{path} is a symlink, where a directory is needed")
    if not path.exists():
        path.mkdir()
        path.chmod(mode)


def _keep_only(fd: int) -> None:
    os.closerange(3, fd)
    os.closerange(fd + 1, 1 << 16)


def _complain(channel: socket.socket, error: OSError) -> None:
    try:
        wire.send(channel, Kind.FAILED, str(error.strerror or error).encode())
    except OSError:
        os.write(2, f"sandbox: {error}\n".encode())
