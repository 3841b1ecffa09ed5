"""Kernels and initramfs instead of disks: by `ramdisk-image-create`, and out of the whole tree."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
RAMDISK = "from imagebuilder.cli.start import ramdisk_image_create; ramdisk_image_create()"
needs_cpio = pytest.mark.skipif(not shutil.which("cpio"), reason="needs cpio")
needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox")
INSTALLER = "#!/bin/bash\necho packages: $*\n"
COPY = """\
cd $TARGET_ROOT
for program in {programs}; do
    cp -L "$(type -P $program)" usr/bin/
    ldd usr/bin/$program | grep -o '/[^ ]*' | while read -r library; do
        place=.$(readlink -f $(dirname $library)); mkdir -p $place; cp -L $library $place
    done || true
done
"""
KERNEL = """\
touch $TARGET_ROOT/etc/debian_version
for version in 6.1.0-9-test 6.1.0-10-test; do
    echo kernel $version >$TARGET_ROOT/boot/vmlinuz-$version
    echo initrd $version >$TARGET_ROOT/boot/initrd.img-$version
    mkdir -p $TARGET_ROOT/usr/lib/modules/$version/kernel/drivers/video
    touch $TARGET_ROOT/usr/lib/modules/$version/kernel/{a.ko,drivers/video/afb.ko}
done
mkdir -p $TARGET_ROOT/usr/lib/udev/rules.d; echo rule >$TARGET_ROOT/usr/lib/udev/rules.d/50-a.rules
"""


def ramdisk(workshop: Workshop, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `ramdisk-image-create` to its end."""
    return subprocess.run(
        [sys.executable, "-c", RAMDISK, "-n", "-o", "out", "tiny", "machine", *words],
        cwd=workshop.directory, env=workshop.variables(variables),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


def machine(workshop: Workshop, programs: str, own: str = "") -> None:
    """An element that gives the tiny root a kernel, and programs of the host."""
    workshop.element("machine", {
        "bin/install-packages": INSTALLER,
        "root.d/50-machine": KERNEL + COPY.format(programs=programs) + own,
    })  # fmt: skip


def unpacked(archive: Path, directory: Path) -> Path:
    """The tree in an initramfs."""
    directory.mkdir()
    content = gzip.decompress(archive.read_bytes())
    subprocess.run(["cpio", "-idm", "--quiet"], input=content, cwd=directory, check=True)
    return directory


STAND_INS = """\
for p in modprobe udevadm ip; do
    printf '#!/bin/bash\\n' >usr/bin/$p
    chmod +x usr/bin/$p
done
echo opened by name >usr/lib/libkmod.so.2
"""
ADDS = {
    "binary-deps.d/adds": "wc\n",
    "init.d/50-adds": "echo fragment of adds\n",
    "udev.d/70-adds.rules": "own rule\n",
    "ramdisk-install.d/50-adds": "touch $TMP_MOUNT_PATH/added\n",
}


ORDER = (
    "source /init-func",
    "# 10-start-base-system",
    "# 20-init-variables",
    "# 30-start-network",
    "# 40-check-network-ready",
    "fragment of adds",
    "reboot -f",
)


@pytest.fixture
def deploy(workshop: Workshop) -> Workshop:
    """A workshop in which a ramdisk has been made, with an element that adds to it."""
    machine(workshop, "busybox cpio gzip ldd xargs stat rmdir", STAND_INS)
    element = workshop.element("adds", ADDS)
    for name in ("binary-deps.d/adds", "init.d/50-adds", "udev.d/70-adds.rules"):
        text = (element / name).read_text().removeprefix("#!/bin/bash\nset -eu\n")
        (element / name).write_text(text)
    done = ramdisk(workshop, "adds")
    assert done.returncode == 0, done.stdout
    assert "packages: busybox cpio iproute2 kmod udev" in done.stdout
    return workshop


@needs_cpio
@needs_busybox
def test_a_ramdisk_has_busybox_modules_and_what_elements_add(
    deploy: Workshop, tmp_path: Path
) -> None:
    made = {path.name for path in deploy.directory.glob("out.*")}
    assert made == {"out.d", "out.kernel", "out.initramfs"}
    assert (deploy.directory / "out.kernel").read_text() == "kernel 6.1.0-10-test\n"
    tree = unpacked(deploy.directory / "out.initramfs", tmp_path / "tree")
    for name in ("bin/bash", "bin/wc", "bin/busybox", "added", "init-func", "sbin/modprobe"):
        assert (tree / name).is_file(), name
    assert (tree / "bin/vi").readlink() == Path("busybox")
    assert (tree / "lib/udev/rules.d/70-adds.rules").read_text() == "own rule\n"
    assert (tree / "lib/udev/rules.d/50-a.rules").exists()
    assert (tree / "usr/lib/libkmod.so.2").exists()
    assert [path.name for path in tree.rglob("*.ko")] == ["a.ko"]


@needs_cpio
@needs_busybox
def test_modules_and_udev_rules_may_be_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    elsewhere = """\
mkdir -p srv/modules/lib srv/rules/lib
mv usr/lib/modules srv/modules/lib/
mv usr/lib/udev srv/rules/lib/
"""
    machine(workshop, "busybox cpio gzip ldd xargs stat rmdir", STAND_INS + elsewhere)
    done = ramdisk(workshop, DIB_MODULE_ROOT="/srv/modules", DIB_LIB_UDEV_ROOT="/srv/rules")
    assert done.returncode == 0, done.stdout
    tree = unpacked(workshop.directory / "out.initramfs", tmp_path / "tree")
    assert (tree / "lib/modules/6.1.0-10-test/kernel/a.ko").exists()
    assert (tree / "lib/udev/rules.d/50-a.rules").exists()
    done = ramdisk(workshop, DIB_MODULE_ROOT="/srv/nowhere")
    assert done.returncode == 1
    assert "/srv/nowhere/lib/modules/6.1.0-10-test is not there" in done.stdout


@needs_cpio
@needs_busybox
def test_init_and_programs_of_a_ramdisk_work(deploy: Workshop, tmp_path: Path) -> None:
    tree = unpacked(deploy.directory / "out.initramfs", tmp_path / "tree")
    init = (tree / "init").read_text()
    assert sorted(ORDER, key=init.index) == list(ORDER)
    assert subprocess.run(["bash", "-n", tree / "init"], check=False).returncode == 0
    words = ["chroot", tree, "/usr/bin/bash", "-c", "wc --version"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


@needs_cpio
@needs_busybox
def test_a_ramdisk_has_the_same_bytes_each_time(deploy: Workshop) -> None:
    first = (deploy.directory / "out.initramfs").read_bytes()
    assert ramdisk(deploy, "adds").returncode == 0
    assert (deploy.directory / "out.initramfs").read_bytes() == first


def test_a_program_that_the_image_lacks_is_named(workshop: Workshop) -> None:
    machine(workshop, "xargs")
    done = ramdisk(workshop)
    assert done.returncode == 1
    assert "the image has no program 'busybox' (hint: install its package" in done.stdout


DRACUT = """\
printf '#!/bin/bash\\nprintf "%%s\\\\n" "$@" >/arguments; cp $0 /tmp/ramdisk\\n' >usr/bin/dracut
chmod +x usr/bin/dracut
"""


def test_dracut_is_told_of_programs_drivers_and_fragments(workshop: Workshop) -> None:
    machine(workshop, "xargs stat", DRACUT)
    workshop.element("adds", {"ramdisk-install.d/50-adds": "touch $TMP_MOUNT_PATH/added\n"})
    late = "echo late_driver >>/etc/dib_dracut_drivers\n"
    element = workshop.element("adds", {"post-install.d/50-adds": late})
    for name, text in {
        "binary-deps.d/adds": "wc\n",
        "init.d/50-adds": "echo fragment of adds\n",
        "dracut-drivers.d/adds": "my_driver\n",
    }.items():
        (element / name).parent.mkdir()
        (element / name).write_text(text)
    done = ramdisk(workshop, "--ramdisk-element", "dracut-ramdisk", "-t", "tar,qcow2", "adds")
    assert done.returncode == 0, done.stdout
    assert (workshop.directory / "out.kernel").read_text() == "kernel 6.1.0-10-test\n"
    assert (workshop.directory / "out.initramfs").exists()
    assert not (workshop.directory / "out.qcow2").exists()
    with tarfile.open(workshop.directory / "out.tar") as tar:
        texts = {
            name: file.read().decode()
            for name in ("arguments", "usr/lib/dracut/modules.d/80deploy-ramdisk/init.sh")
            if (file := tar.extractfile(f"./{name}"))
        }
    arguments = texts["arguments"].splitlines()
    assert arguments[arguments.index("--kver") + 1] == "6.1.0-10-test"
    assert arguments[arguments.index("--install") + 1] == "bash wc"
    drivers = arguments[arguments.index("--add-drivers") + 1]
    assert drivers.split() == ["my_driver", "virtio", "virtio_blk", "virtio_net", "late_driver"]
    assert "echo fragment of adds" in texts["usr/lib/dracut/modules.d/80deploy-ramdisk/init.sh"]


WHOLE = """\
source $_LIB/img-functions
IMAGE_PATH=$(readlink -f $IMAGE_NAME)
cd $TARGET_ROOT
echo '#disabled' >./tmp/fstab.new
sudo mv ./tmp/fstab.new ./etc/fstab
sudo find . -xdev -path './sys/*' -prune -o -path './tmp/*' -prune -o -print | \\
    sudo cpio -o -H newc | gzip >${IMAGE_PATH}.initramfs
select_boot_kernel_initrd $TARGET_ROOT
sudo cp $BOOTDIR/$KERNEL ${IMAGE_PATH}.kernel
pushd $(dirname ${IMAGE_PATH})
sha256sum $(basename $IMAGE_NAME).kernel $(basename $IMAGE_NAME).initramfs >${IMAGE_NAME}.sha256
popd
"""


@needs_cpio
@pytest.mark.parametrize("cached", [False, True])
def test_the_whole_tree_becomes_an_initramfs(
    workshop: Workshop, tmp_path: Path, *, cached: bool
) -> None:
    machine(workshop, "bash")
    (workshop.directory / "elements/machine/element.yaml").write_text("cacheable: true\n")
    workshop.element("whole", {
        "element-deps": "no-final-image\n", "cleanup.d/99-whole": WHOLE,
        "pre-finalise.d/50-mnt": "echo there >$TMP_BUILD_DIR/mnt/there\n",
    })  # fmt: skip
    words = ("-n", "-t", "raw", "-o", f"{workshop.directory}/ipa", "tiny", "machine", "whole")
    for _ in range(2 if cached else 1):
        done = workshop.create(*words)
        assert done.returncode == 0, done.stdout
    assert (" taken from it (" in done.stdout) == cached
    made = {path.name for path in workshop.directory.glob("ipa*")}
    assert made == {"ipa.d", "ipa.kernel", "ipa.initramfs", "ipa.sha256"}
    assert (workshop.directory / "ipa.kernel").read_text() == "kernel 6.1.0-10-test\n"
    check = ["sha256sum", "--check", "--quiet", "ipa.sha256"]
    assert subprocess.run(check, cwd=workshop.directory, check=False).returncode == 0
    tree = unpacked(workshop.directory / "ipa.initramfs", tmp_path / "tree")
    assert (tree / "there").read_text() == "there\n"
    assert (tree / "etc/passwd").exists()
    assert (tree / "etc/fstab").read_text() == "#disabled\n"
    assert not list((tree / "proc").iterdir())
    assert not list((tree / "dev").iterdir())


def test_without_a_disk_its_tools_are_not_needed(workshop: Workshop) -> None:
    tool = shutil.which("qemu-img")
    hide = f'mount --bind /dev/null {tool} && exec "$@"' if tool else 'exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", hide, "-",
         sys.executable, "-m", "imagebuilder", "build", "-n", "-o", "out",
         "tiny", "no-final-image"],
        cwd=workshop.directory, env=workshop.variables({}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert {path.name for path in workshop.directory.glob("out*")} == {"out.d"}
