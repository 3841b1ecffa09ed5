"""Roots from published images: small real ones, with signed checksums, served on loopback."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from signed_archive import Archive, run, served

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not shutil.which("gpgv"), reason="needs gpgv"),
]
NAME = "noble-server-cloudimg-amd64"
STAND_IN = "#!/bin/bash\n"  # for programs of a package manager
OS_RELEASE = "ID=ubuntu\nVERSION_ID=24.04\nVERSION_CODENAME=noble\n"


def tree(directory: Path) -> Path:
    """A small system with a hard link, an owner, an attribute and a device."""
    directory.mkdir()
    program = Path(__file__).parents[1] / "elements/tiny/root.d/10-tiny"
    run("bash", str(program), TARGET_ROOT=str(directory))
    (directory / "etc/os-release").write_text(OS_RELEASE)
    (directory / "usr/bin/apt-get").write_text(STAND_IN)
    (directory / "usr/bin/apt-get").chmod(0o755)
    for name in ("usr/sbin", "usr/local/bin", "etc/apt"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/apt/sources.list").write_text(
        "deb http://archive.ubuntu.com/ubuntu noble main\n"
        "deb http://security.ubuntu.com/ubuntu/ noble-security main\n"
    )
    mine = directory / "srv"
    mine.mkdir(mode=0o700)
    os.chown(mine, 4242, 4343)
    (mine / "one").write_text("one")
    os.setxattr(mine / "one", "user.colour", b"blue")
    os.setxattr(mine / "one", "security.selinux", b"system_u:object_r:etc_t:s0\0")
    os.link(mine / "one", mine / "two")
    os.mknod(mine / "null", 0o20666, os.makedev(1, 3))
    os.utime(mine / "one", (1234567890, 1234567890))
    return directory


def disk(root: Path, target: Path) -> None:
    """A qcow2 with a GPT, an EFI system partition and an ext4 of the tree."""
    raw = target.with_suffix(".raw")
    raw.write_bytes(b"")
    os.truncate(raw, 160 << 20)
    run("sgdisk", "-n1:2048:+8M", "-t1:EF00", "-n2:0:0", "-t2:8303", str(raw))
    offset = (2048 << 9) + (8 << 20)
    options = ["-q", "-F", "-t", "ext4", "-d", str(root), "-E", f"offset={offset}"]
    run("mke2fs", *options, str(raw), f"{(150 << 20) >> 10}k")
    run("mkfs.vfat", "--offset=2048", str(raw), "8192")
    run("mmd", "-i", f"{raw}@@1M", "::/EFI")
    run("qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(target))
    raw.unlink()


class Publisher:
    """What somebody publishes: images, their checksums, and a signature of these."""

    def __init__(self, root: Path) -> None:
        self.archive = Archive(root / "published")
        self.images = self.archive.root / "images"
        self.images.mkdir(parents=True)
        self.home = tempfile.mkdtemp(prefix="gpg.")
        self.gpg = ("gpg", "--homedir", self.home, "--batch", "--quiet", "--pinentry-mode",
                    "loopback", "--passphrase", "")  # fmt: skip
        run(*self.gpg, "--quick-generate-key", "Cloud <cloud@example.org>", "ed25519", "sign")
        run(*self.gpg, "--output", str(self.archive.keyring), "--export")

    def publish(self) -> None:
        """Write checksums of all images, and sign them."""
        sums = self.images / "SHA256SUMS"
        images = sorted(path for path in self.images.iterdir() if path.name.startswith("noble"))
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} *{p.name}\n" for p in images]
        sums.write_text("".join(lines))
        (self.images / "SHA256SUMS.gpg").unlink(missing_ok=True)
        run(*self.gpg, "--detach-sign", "--output", f"{sums}.gpg", str(sums))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("root") / "tree")


@pytest.fixture
def publisher(tmp_path: Path, root: Path) -> Iterator[Publisher]:
    """One that has published a squashfs."""
    made = Publisher(tmp_path)
    run("mksquashfs", str(root), str(made.images / f"{NAME}.squashfs"), "-quiet", "-no-progress")
    made.publish()
    try:
        with served(made.archive):
            yield made
    finally:
        subprocess.run(["gpgconf", "--homedir", made.home, "--kill", "all"], check=False)
        shutil.rmtree(made.home, ignore_errors=True)


def build(
    workshop: Workshop, publisher: Publisher, **variables: str
) -> subprocess.CompletedProcess[str]:
    given = {
        "DIB_RELEASE": "noble",
        "ARCH": "amd64",
        "DIB_CLOUD_IMAGES": f"{publisher.archive.url}/images",
        "DIB_CLOUD_IMAGES_KEYRING": str(publisher.archive.keyring),
        "OVERWRITE_OLD_IMAGE": "1",
        **variables,
    }
    stand_in = {"element-deps": "install-bin\n", "bin/install-packages": STAND_IN}
    workshop.element("dpkg", stand_in)
    return workshop.create("-n", "-t", "tar", "-o", "out", "ubuntu", **given)


def check_files(archive: Path) -> None:
    """What the image had is there, with everything it had, but for SELinux's labels."""
    with tarfile.open(archive) as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
    assert (members["srv"].mode, members["srv"].uid, members["srv"].gid) == (0o700, 4242, 4343)
    names = [member for name, member in members.items() if name in ("srv/one", "srv/two")]
    assert sorted(member.islnk() for member in names) == [False, True]
    (file,) = [member for member in names if not member.islnk()]
    assert file.mtime == 1234567890
    assert file.pax_headers["SCHILY.xattr.user.colour"] == "blue"
    assert "SCHILY.xattr.security.selinux" not in file.pax_headers
    assert members["srv/null"].ischr()
    assert (members["srv/null"].devmajor, members["srv/null"].devminor) == (1, 3)
    assert "lost+found" not in members


def test_a_squashfs_a_tar_and_a_disk_all_become_the_root(
    workshop: Workshop, publisher: Publisher, root: Path
) -> None:
    disk(root, publisher.images / f"{NAME}.img")
    tar = ("tar", "--xattrs", "--xattrs-include=*", "-C", str(root), "-czf")
    run(*tar, str(publisher.images / f"{NAME}-root.tar.gz"), ".")
    publisher.publish()
    for kind in (".squashfs", "-root.tar.gz", ".img"):
        done = build(workshop, publisher, BASE_IMAGE_FILE=f"{NAME}{kind}")
        assert done.returncode == 0, done.stdout
        check_files(workshop.directory / "out.tar")
    asked = publisher.archive.asked.count(f"/images/{NAME}.img")
    done = build(workshop, publisher, BASE_IMAGE_FILE=f"{NAME}.img", DIB_OFFLINE="1")
    assert done.returncode == 0, done.stdout
    assert publisher.archive.asked.count(f"/images/{NAME}.img") == asked == 1


def test_a_local_image_is_taken_as_it_is_and_its_mirror_replaced(
    workshop: Workshop, publisher: Publisher
) -> None:
    local = publisher.images / f"{NAME}.squashfs"
    before = hashlib.sha256(local.read_bytes()).digest()
    mirror = "http://mirror.example.org/ubuntu"
    done = build(workshop, publisher, DIB_LOCAL_IMAGE=str(local), DIB_DISTRIBUTION_MIRROR=mirror)
    assert done.returncode == 0, done.stdout
    check_files(workshop.directory / "out.tar")
    sources = run("tar", "-xOf", str(workshop.directory / "out.tar"), "./etc/apt/sources.list")
    assert sources.splitlines() == [
        f"deb {mirror}/ noble main", f"deb {mirror}/ noble-security main",
    ]  # fmt: skip
    assert publisher.archive.asked == []
    assert hashlib.sha256(local.read_bytes()).digest() == before


def refused(workshop: Workshop, publisher: Publisher, **variables: str) -> str:
    """The error line of a build that has to fail, and leaves nothing."""
    done = build(workshop, publisher, **variables)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert not (workshop.directory / "out.tar").exists()
    return done.stdout.rsplit("error: ", 1)[-1]


def test_what_is_not_the_published_image_is_refused(
    workshop: Workshop, publisher: Publisher
) -> None:
    image = publisher.images / f"{NAME}.squashfs"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "is not what was expected: its SHA-256 is" in refused(workshop, publisher)
    image.write_bytes(content)
    sums = publisher.images / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("*", " "))
    assert "the signature of" in (line := refused(workshop, publisher))
    assert "BAD signature" in line
    publisher.publish()
    other = Publisher(workshop.directory / "other")
    keyring = str(other.archive.keyring)
    assert "public key" in refused(workshop, publisher, DIB_CLOUD_IMAGES_KEYRING=keyring)
    shutil.rmtree(other.home, ignore_errors=True)
    keyring = "/nowhere.gpg"
    assert "/nowhere.gpg is not there" in refused(
        workshop, publisher, DIB_CLOUD_IMAGES_KEYRING=keyring
    )


def test_what_is_not_there_or_breaks_off_is_said(workshop: Workshop, publisher: Publisher) -> None:
    assert "has no checksum of lunar.squashfs" in refused(
        workshop, publisher, BASE_IMAGE_FILE="lunar.squashfs"
    )
    image = publisher.images / f"{NAME}.squashfs"
    kept = image.rename(image.with_name("kept"))
    assert f"{NAME}.squashfs is not there" in refused(workshop, publisher)
    kept.rename(image)
    local = workshop.directory / "half.squashfs"
    local.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    assert "half.squashfs cannot be unpacked" in refused(
        workshop, publisher, DIB_LOCAL_IMAGE=str(local)
    )
    assert "there is no image /nowhere" in refused(workshop, publisher, DIB_LOCAL_IMAGE="/nowhere")


def test_a_list_of_sha512_will_do(tmp_path: Path, publisher: Publisher) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    elements = Path(__file__).parents[2] / "elements"
    for name in ("sysprep/bin/fetch-image", "cache-url/bin/cache-url"):
        shutil.copy(elements / name, programs)
    image, url = publisher.images / f"{NAME}.squashfs", publisher.archive.url
    sums, dest = publisher.images / "SHA512SUMS", tmp_path / "image"

    def fetch() -> subprocess.CompletedProcess[str]:
        words = (f"{url}/images/SHA512SUMS", f"{url}/images/{image.name}", str(dest))
        environment = {"PATH": os.environ["PATH"], "DIB_IMAGE_CACHE": str(tmp_path / "cache")}
        return subprocess.run(
            [str(programs / "fetch-image"), *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    sums.write_text(f"{hashlib.sha512(image.read_bytes()).hexdigest()}  {image.name}\n")
    for _ in range(2):
        assert fetch().returncode == 0
        assert dest.read_bytes() == image.read_bytes()
    assert publisher.archive.asked.count(f"/images/{image.name}") == 1
    sums.write_text(f"{hashlib.sha512(b'').hexdigest()}  {image.name}\n")
    done = fetch()
    assert done.returncode == 1
    assert "is not what was expected: its SHA-512 is not" in done.stderr
    assert not dest.exists()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qcow2 with a root whose programs only note how they are called."""
    place = tmp_path_factory.mktemp("machine")
    root = tree(place / "tree")
    for directory in ("etc/default", "etc/apt/sources.list.d", "etc/ssh", "etc/systemd/network"):
        (root / directory).mkdir(parents=True)
    (root / "etc/ssh/sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\n")
    for name in ("dnf", "id", "rpm", "subscription-manager", "systemctl", "useradd", "zypper"):
        program = root / "usr/bin" / name
        fails = "[[ $0$* != *@(/id|--whatprovides)* ]]"  # nothing is there yet
        text = f"shopt -s extglob\nprintf '%s\\n' \"{name} $*\" >>/called\n{fails}\n"
        program.write_text(STAND_IN + text)
        program.chmod(0o755)
    disk(root, place / "machine.qcow2")
    return place / "machine.qcow2"


@pytest.mark.parametrize(
    ("element", "name", "sums", "line"),
    [
        ("debian-systemd", "debian-13-genericcloud-amd64.qcow2", "SHA512SUMS", "{512}  {name}"),
        ("fedora", "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2",
         "Fedora-Cloud-43-1.6-x86_64-CHECKSUM", "SHA256 ({name}) = {256}"),
        ("opensuse", "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2",
         "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2.sha256", "{256}  {name}"),
    ],
)  # fmt: skip
def test_a_published_disk_becomes_the_root(
    workshop: Workshop, machine: Path, element: str, name: str, sums: str, line: str
) -> None:
    archive = Archive(workshop.directory / "published")
    archive.root.mkdir()
    os.link(machine, archive.root / name)
    content = machine.read_bytes()
    digests = {f"{size}": hashlib.new(f"sha{size}", content).hexdigest() for size in (256, 512)}
    listed = line.replace("{name}", name)
    for size, digest in digests.items():
        listed = listed.replace(f"{{{size}}}", digest)
    (archive.root / sums).write_text(f"# signed\n{listed}\n")
    with served(archive):
        done = take(workshop, element, DIB_CLOUD_IMAGES=archive.url)
        assert done.returncode == 0, done.stdout
        (archive.root / sums).write_text(listed.replace(next(iter(listed.split())), "0", 1))
        spoilt = take(workshop, element, DIB_CLOUD_IMAGES=archive.url)
    check_files(workshop.directory / "out.tar")
    called = run("tar", "-xOf", str(workshop.directory / "out.tar"), "./called")
    assert {"debian-systemd": "useradd", "fedora": "dnf", "opensuse": "zypper"}[element] in called
    assert spoilt.returncode == 1
    assert name in spoilt.stdout.rsplit("error: ", 1)[-1]


def take(workshop: Workshop, element: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A build from a published image; Debian's package handling is a stand-in."""
    given = {}
    if element == "debian-systemd":
        given["DIB_RELEASE"] = "trixie"
        stand_in = {"element-deps": "install-bin\n", "bin/install-packages": STAND_IN}
        workshop.element("dpkg", stand_in)
    words = ("-n", "-t", "tar", "-o", "out", element, "-p", "tree")
    return workshop.create(*words, ARCH="amd64", OVERWRITE_OLD_IMAGE="1", **given, **variables)


def test_a_machine_of_rhel_is_registered_while_it_is_built(
    workshop: Workshop, machine: Path
) -> None:
    given = {"DIB_LOCAL_IMAGE": str(machine), "REG_METHOD": "portal", "REG_ORG": "we"}
    done = take(workshop, "rhel", **given, REG_ACTIVATION_KEY="key of ours", REG_REPOS="one,two")
    assert done.returncode == 0, done.stdout
    check_files(workshop.directory / "out.tar")
    called = run("tar", "-xOf", str(workshop.directory / "out.tar"), "./called").splitlines()
    registered = [line for line in called if line.startswith("subscription-manager")]
    assert registered == [
        "subscription-manager register --org=we --activationkey=key of ours",
        "subscription-manager repos --disable=*",
        "subscription-manager repos --enable=one --enable=two",
        "subscription-manager unregister",
        "subscription-manager clean",
    ]
    assert any(line.startswith("dnf") and "tree" in line for line in called)
    done = take(workshop, "rhel", **given)
    assert done.returncode == 1
    assert "set REG_USER and REG_PASSWORD, or REG_ORG and REG_ACTIVATION_KEY" in done.stdout
