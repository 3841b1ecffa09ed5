"""The rows of the table of tools that only the tests need."""

from __future__ import annotations

from imagebuilder.tools.model import DEBIAN, UBUNTU, for_tests, library, named

FOR_TESTS = (
    library("pytest", "pytest", "test", "python3-pytest"),
    library("pytest-xdist", "xdist", "test", "python3-pytest-xdist"),
    library("hypothesis", "hypothesis", "test", "python3-hypothesis"),
    library("ensurepip", "ensurepip", "test", "python3-venv"),
    for_tests("umoci", "container images", named("umoci")),
    for_tests("pigz", "archives", named("pigz")),
    for_tests("grub-mkrescue", "ISO images", named("grub-common", "grub2-tools-extra", "grub2")),
    for_tests(
        "cdboot.img",
        "ISO images",
        named("grub-pc-bin", "grub2-pc-modules", "grub2-i386-pc"),
        files=("/usr/lib/grub/i386-pc/cdboot.img",),
    ),
    for_tests(
        "GRUB for UEFI",
        "ISO images",
        named("grub-efi-amd64-bin", "grub2-efi-x64-modules", "grub2-x86_64-efi"),
        files=("/usr/lib/grub/x86_64-efi/modinfo.sh", "/usr/share/grub2/x86_64-efi/modinfo.sh"),
    ),
    for_tests(
        "isolinux.bin",
        "ISO images",
        named("isolinux", "syslinux"),
        files=("/usr/lib/ISOLINUX/isolinux.bin", "/usr/share/syslinux/isolinux.bin"),
    ),
    for_tests("cpio", "initrds", named("cpio")),
    for_tests("zstd", "initrds", named("zstd")),
    for_tests("lz4", "initrds", named("lz4")),
    for_tests("lzop", "initrds", named("lzop")),
    for_tests("bzip2", "initrds", named("bzip2")),
    for_tests("lsinitramfs", "initrds", {DEBIAN: "initramfs-tools-core"}, version=()),
    for_tests("shellcheck", "hooks", named("shellcheck", "ShellCheck")),
    for_tests("rpmbuild", "RPM packages", named("rpm", "rpm-build", "rpm-build")),
    for_tests("rpmsign", "RPM packages", named("rpm", "rpm-sign", "rpm-build")),
    for_tests(
        "createrepo_c", "RPM packages", named("createrepo-c", "createrepo_c", "createrepo_c")
    ),
    for_tests("setfiles", "SELinux labels", named("policycoreutils"), version=()),
    for_tests("xz", "archives", named("xz-utils", "xz")),
    for_tests("sgdisk", "partition tables", named("gdisk", "gdisk", "gptfdisk")),
    for_tests("sfdisk", "partition tables", named("fdisk", "util-linux")),
    for_tests("busybox", "ramdisks", named("busybox"), version=()),
    for_tests("xfs_repair", "xfs", named("xfsprogs"), version=("-V",)),
    for_tests("lvm", "LVM", named("lvm2"), version=("version",)),
    for_tests("debugfs", "ext4", named("e2fsprogs"), version=("-V",)),
    for_tests("getfattr", "attributes", named("attr")),
    for_tests("getfacl", "ACLs", named("acl")),
    for_tests(
        "chromium",
        "the report's page",
        {UBUNTU: "chromium-browser", **named("chromium")},
        version=(),
    ),
)
