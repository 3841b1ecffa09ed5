"""Elements that strangers' elements depend on, and what their hooks may count on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stand_ins import INSTALLER
from stand_ins import packaged as build
from stand_ins import refused_packaged as refused

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]


@pytest.mark.parametrize("side", ["extra-data", "install"])
def test_die_ends_a_hook_with_the_status_before_it_on_both_sides(
    workshop: Workshop, side: str
) -> None:
    workshop.element("dying", {f"{side}.d/50-die": "(exit 9) || die 'no more'\necho alive\n"})
    done = workshop.create("-n", "-o", "out", "tiny", "dying")
    assert done.returncode == 9
    assert done.stdout.rstrip().endswith("no more")
    assert "alive" not in done.stdout


@pytest.mark.parametrize("side", ["extra-data", "install"])
def test_die_never_ends_a_hook_as_a_success(workshop: Workshop, side: str) -> None:
    hook = "#!/bin/sh\nset -e\nfalse || die 'from sh'\n"
    workshop.element("dying", {"program": hook, f"{side}.d/50-die": "true; die 'from bash'\n"})
    done = workshop.create("-n", "-o", "out", "tiny", "dying")
    assert done.returncode == 1
    workshop.element("dying", {f"{side}.d/50-die": 'exec sh "$(dirname "$0")/../program"\n'})
    done = workshop.create("-n", "-o", "out", "tiny", "dying")
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith("from sh")


def test_the_libraries_can_be_sourced_on_both_sides(workshop: Workshop) -> None:
    names = ("die", "common-defaults", "common-functions", "img-defaults", "img-functions",
             "ramdisk-defaults", "ramdisk-functions")  # fmt: skip
    source = "".join(f'. "$_LIB/{name}"\n' for name in names)
    functions = (
        "die run_d run_in_target generate_hooks unmount_dir finish_image save_image tmpfs_check"
        " check_break mk_build_dir kill_chroot_processes mount_proc_dev_sys"
        " do_extra_package_install select_boot_kernel_initrd find_kernel_version populate_lib"
        " mount_dev_pts_options run_d_in_target unmount_image compress_and_save_image"
    )
    check = f"set -o pipefail\n{source}declare -F {functions} >/dev/null\n"
    workshop.element("libraries", {
        "extra-data.d/50-host": f"{check}touch $TMP_MOUNT_PATH/host\n",
        "install.d/50-inside": f"{check}touch /inside\n",
    })  # fmt: skip
    assert {"host", "inside"} <= build(workshop, "libraries").members.keys()


def test_functions_that_hooks_call_do_what_they_say(workshop: Workshop) -> None:
    element = workshop.element("caller", {
        "environment.d/50-caller": "export MARK=mark\n",
        "own-phase.d/10-b": "#!/bin/bash\necho b $MARK >>$TMP_MOUNT_PATH/ran\n",
        "own-phase.d/9-a": "#!/bin/bash\necho a $MARK >>$TMP_MOUNT_PATH/ran\n",
        "own-phase.d/10-c.sh": "#!/bin/bash\necho c >>$TMP_MOUNT_PATH/ran\n",
        "own-phase.d/10-data": "no program\n",
        "extra-data.d/50-call": (
            '. "$_LIB/common-functions"; . "$_LIB/img-functions"\n'
            "run_d own-phase; test -x $DIB_RUN_PARTS\n"
            "run_in_target 'echo $HOME $PATH >/in-target; : >/dev/null'\n"
            "m=$TMP_MOUNT_PATH/m; mkdir $m; mount -t tmpfs x $m; unmount_dir $m/..\n"
            "touch $m/not-lost\n"
            "OVERWRITE_OLD_IMAGE=0 OUT_IMAGE_PATH=$TMP_BUILD_DIR/made\n"
            "echo new >$OUT_IMAGE_PATH; echo old >side.img\n"
            "DIB_CHECKSUM=1 save_image side.img\n"
            "truncate -s 1M $TMP_BUILD_DIR/disk; TMP_IMAGE_PATH=$TMP_BUILD_DIR/disk\n"
            "IMAGE_TYPE=qcow2 compress_and_save_image disk.img\n"
            "eval declare -A all=($(get_image_element_array))\n"
            "echo ${all[caller]} >$TMP_MOUNT_PATH/where\n"
            "TMP_HOOKS_PATH=$TMP_BUILD_DIR/own; generate_hooks\n"
            "test -x $TMP_HOOKS_PATH/own-phase.d/9-a; test -f $TMP_HOOKS_PATH/own-phase.d/10-data\n"
        ),
    })  # fmt: skip
    (element / "own-phase.d/10-data").chmod(0o644)
    image = build(workshop, "caller")
    assert image.texts["ran"] == "a mark\nb mark\n"
    assert image.texts["in-target"].startswith("/root /usr/local/sbin:")
    assert "m/not-lost" in image.members
    assert (workshop.directory / "side.img").read_text() == "new\n"
    assert (workshop.directory / "side.img.sha256").read_text().endswith("  side.img\n")
    assert [path.read_text() for path in workshop.directory.glob("side-*.img")] == ["old\n"]
    assert (workshop.directory / "disk.img").read_bytes().startswith(b"QFI")
    assert image.texts["where"] == f"{workshop.directory}/elements/caller\n"


def test_hooks_may_say_sudo_where_there_is_none(workshop: Workshop) -> None:
    script = (
        "sudo -E mkdir -p $where/made\nsudo touch $where/made/a\n"
        "sudo MARK=given sh -c 'echo $MARK ${KEPT:-new}' | sudo tee $where/made/b\n"
        "sudo -E sh -c 'echo $KEPT' >>$where/made/b\n"
        "sudo --preserve-env=KEPT sh -c 'echo $KEPT $LC_ALL' >>$where/made/b\n"
        "sudo -nHu root -- id -u >$where/made/c\nsudo -u '#0' id -u >>$where/made/c\n"
        "sudo -v; sudo -s echo shell '*' >$where/made/d\n! sudo -l\n"
        "sudo -iu root pwd >>$where/made/d\n"
    )
    workshop.element("sudoer", {
        "extra-data.d/50-host": f"where=$TMP_MOUNT_PATH/host; export KEPT=kept\n{script}",
        "install.d/50-inside": f"where=/inside; export KEPT=kept\n{script}",
    })  # fmt: skip
    image = build(workshop, "sudoer")
    for side in ("host", "inside"):
        texts = [image.texts[f"{side}/made/{name}"] for name in "abcd"]
        assert texts == ["", "given new\nkept\nkept C\n", "0\n0\n", "shell *\n/root\n"]


def test_hooks_import_modules_of_diskimage_builder_and_ask_for_elements(
    workshop: Workshop,
) -> None:
    workshop.element("asking", {"extra-data.d/50": (
        "sudo -E $DIB_PYTHON_EXEC -c 'from diskimage_builder import logging_config, paths;"
        " logging_config.setup(); paths.show_path(\"lib\")' >$TMP_MOUNT_PATH/where\n"
        "$DIB_PYTHON_EXEC $_LIB/element-info.py asking tiny >$TMP_MOUNT_PATH/names\n"
        "flock $DIB_LOCKFILES/own true\n"
        "echo $DIB_IMAGE_SIZE $DIB_NO_TMPFS $DIB_MIN_TMPFS $DIB_CHECKSUM >$TMP_MOUNT_PATH/asked\n"
    )})  # fmt: skip
    image = build(workshop, "asking", "--image-size", "2.5", "--checksum", "--no-tmpfs")
    assert image.texts["where"].endswith("/imagebuilder/lib\n")
    assert image.texts["names"] == "asking tiny\n"
    assert image.texts["asked"] == "2.5 1 2 1\n"
    assert "Image file out.tar created..." in image.log
    assert "Expanded element dependencies to: asking packages tiny" in image.log


def test_a_hook_that_names_no_interpreter_is_a_shell_script(workshop: Workshop) -> None:
    element = workshop.element("plain", {"install.d/50": "", "extra-data.d/50": ""})
    (element / "install.d/50").write_text('echo "$BASH_VERSION" >/inside\n')
    (element / "extra-data.d/50").write_text('echo "$BASH_VERSION" >$TMP_MOUNT_PATH/outside\n')
    (element / "extra-data.d/60").touch(0o755)
    texts = build(workshop, "plain").texts
    assert texts["inside"]
    assert texts["outside"].strip()


def test_libraries_work_where_a_hook_has_copied_them_to(workshop: Workshop) -> None:
    workshop.element("copying", {
        "extra-data.d/50": (
            "own=$TMP_MOUNT_PATH/own; mkdir $own; cp $_LIB/*-{defaults,functions} $own\n"
        ),
        "post-install.d/50": (
            "_LIB=/own; for f in common-defaults img-defaults ramdisk-defaults common-functions"
            " img-functions ramdisk-functions; do source $_LIB/$f; done\n"
            "TMP_HOOKS_PATH=/tmp/in_target.d run_d later\n"
        ),
        "later.d/50": "echo ran >/ran\n",
    })  # fmt: skip
    assert build(workshop, "copying").texts["ran"] == "ran\n"


def test_an_environment_file_may_need_the_network(workshop: Workshop) -> None:
    asking = "export NET=$(readlink /proc/self/ns/net)\n[ $NET = $HOSTS ]\n"
    workshop.element("asking", {"environment.d/50": asking, "install.d/50": "echo $NET >/net\n"})
    hosts = str(Path("/proc/self/ns/net").readlink())
    assert build(workshop, "asking", HOSTS=hosts).texts["net"] == f"{hosts}\n"


def test_files_of_others_may_have_keys_that_mean_nothing(workshop: Workshop) -> None:
    element = workshop.element("others", {
        "pkg-map": '{"default": {"a": "1", "a": "2"}, "distros": {}}',
        "package-installs.yaml": "a:\n  because: it is good\n",
        "install.d/50-others": "true\n",
    })  # fmt: skip
    (element / "install.d/package-installs-others").write_text("a\n")
    log = build(workshop, "others", "package-installs").log
    assert "the key 'a' is given twice; the last one counts" in log
    assert "unknown key 'because', which does nothing" in log
    assert "will not run" not in log


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_sudo_becomes_another_user_on_the_host(workshop: Workshop) -> None:
    workshop.element("sudoer", {"extra-data.d/50": "sudo -u nobody id -un >$TMP_MOUNT_PATH/who\n"})
    assert build(workshop, "sudoer").texts["who"] == "nobody\n"


def test_host_hooks_may_chroot_into_the_tree(workshop: Workshop) -> None:
    look = "sudo chroot $TMP_MOUNT_PATH bash -c 'echo x >/dev/null; ls /proc/self/fd >>/seen'\n"
    late = "find $TMP_MOUNT_PATH -xdev -mindepth 2 -path '*/proc/*' >$TMP_MOUNT_PATH/not-seen\n"
    phases = ("extra-data", "post-root", "pre-finalise", "cleanup")
    workshop.element("rooted", {f"{phase}.d/50-look": look + late for phase in phases})
    image = build(workshop, "rooted")
    assert image.texts["seen"].split().count("0") == 4
    assert image.texts["not-seen"] == ""
    assert not [name for name in image.members if name.startswith(("proc/", "sys/", "dev/"))]


def test_the_resolver_that_a_hook_leaves_as_orig_is_the_images(workshop: Workshop) -> None:
    workshop.element("resolver", {"install.d/50-own": "echo own >/etc/resolv.conf.ORIG\n"})
    image = build(workshop, "resolver")
    assert image.texts["etc/resolv.conf"] == "own\n"
    assert "etc/resolv.conf.ORIG" not in image.members


def test_static_bin_and_init_scripts_go_to_their_places(workshop: Workshop) -> None:
    element = workshop.element("parts", {
        "element-deps": "install-static\ninstall-bin\ndib-init-system\n",
        "static/etc/deep/file": "text\n", "static/etc/deep/.dotted": "dot\n",
        "static/etc/deep/rest~": "left over\n", "static/usr/bin/run": "#!/bin/sh\n",
        "static/srv/.gitignore": "*\n", "static/srv/.git/config": "\n",
        "bin/own-tool": "#!/bin/bash\necho tool >>/ran\n",
        "init-scripts/systemd/own.service": "[Unit]\n", "init-scripts/sysv/own": "#!/bin/sh\n",
        "install.d/50-use": 'own-tool; dib-init-system >>/ran\n',
    })  # fmt: skip
    (element / "static/etc/deep/link").symlink_to("/nowhere")
    (element / "static/srv/empty").mkdir()
    (element / "static/srv/private").mkdir(mode=0o700)
    image = build(workshop, "parts")
    assert (image.mode("srv/empty"), image.mode("srv/private")) == (0o755, 0o700)
    assert "srv/.gitignore" in image.members
    assert "srv/.git" not in image.members
    assert image.texts["etc/deep/file"] == "text\n"
    assert image.members["etc/deep/link"].linkname == "/nowhere"
    assert "etc/deep/.dotted" in image.members
    assert "etc/deep/rest~" not in image.members
    assert image.mode("usr/bin/run") == 0o755
    assert image.mode("usr/local/bin/own-tool") == 0o755
    assert image.mode("usr/lib/systemd/system/own.service") == 0o644
    assert "etc/init.d/own" not in image.members
    assert image.texts["ran"] == "tool\nsystemd\n"


@pytest.mark.parametrize(
    ("system", "place", "mode"),
    [("sysv", "etc/init.d/own", 0o755), ("openrc", "etc/init.d/own", 0o755),
     ("upstart", "etc/init/own", 0o644)],
)  # fmt: skip
def test_init_scripts_go_where_their_system_looks(
    workshop: Workshop, system: str, place: str, mode: int
) -> None:
    workshop.element("older-init", {
        "element-deps": "dib-init-system\n",
        "environment.d/19-system.bash": f"export DIB_INIT_SYSTEM={system}\n",
        **{f"init-scripts/{name}/own": f"{name}\n" for name in ("sysv", "openrc", "upstart")},
        "bin/rc-update": 'echo "$*" >>/enabled\n', "install.d/50-use": "dib-init-system >>/ran\n",
    })  # fmt: skip
    image = build(workshop, "older-init", "install-bin")
    assert (image.mode(place), image.texts["ran"]) == (mode, f"{system}\n")
    assert [name for name in image.members if name.endswith("/own")] == [place]
    assert image.texts.get("enabled", "") == ("add own default\n" if system == "openrc" else "")


def test_a_boot_loader_that_a_hook_brings_is_left_alone(workshop: Workshop) -> None:
    workshop.element("own-loader", {
        "element-deps": "bootloader\n",
        "finalise.d/10-own": "mkdir -p /tmp/grub; touch /tmp/grub/install\n",
    })  # fmt: skip
    workshop.element("packages", {"bin/install-packages": INSTALLER})
    words = ("tiny", "packages", "block-device-mbr", "own-loader")
    done = workshop.create("-o", "out", "-t", "raw", "-n", *words)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "GRUB is left alone" in done.stdout
    assert not any((workshop.directory / "out.raw").read_bytes()[:440])  # no boot code
    done = workshop.create("-o", "out", "-t", "raw", "-n", *words[:-1], "bootloader")
    assert "the image has no grub-mkconfig" in done.stdout
    done = workshop.create("-o", "out", "-n", *words[:-1], "bootloader", DIB_EXTLINUX="1")
    assert "DIB_EXTLINUX is not supported any more" in done.stdout.rsplit("error: ", 1)[-1]


def test_the_merged_tree_is_read_only_inside(workshop: Workshop) -> None:
    workshop.element("writer", {"install.d/50-write": "! touch /tmp/in_target.d/x\n"})
    build(workshop, "writer")


def test_older_package_lists_are_installed_and_removed(workshop: Workshop) -> None:
    element = workshop.element("older", {
        "element-deps": "package-installs\ninstall-types\n",
        "pkg-map": json.dumps({"default": {"one": "one-of-tiny"}}),
    })  # fmt: skip
    for name, text in {
        "install.d/package-installs-older": "one # a comment\n\n-only-meanwhile\n",
        "install.d/older-package-install/package-installs-more": "of-type\n",
        "install.d/older-source-install/package-installs-more": "of-source\n",
        "post-install.d/package-installs-older": "late\n",
    }.items():
        (element / name).parent.mkdir(parents=True, exist_ok=True)
        (element / name).write_text(text)
    image = build(workshop, "older", DIB_INSTALLTYPE_older="package")
    assert image.texts["installed"].splitlines() == [
        "of-type one-of-tiny only-meanwhile", "-e only-meanwhile", "late",
    ]  # fmt: skip


def test_install_types_link_hooks_of_the_chosen_way(workshop: Workshop) -> None:
    files = {"element-deps": "install-types\n"}
    for kind in ("source", "package", "repo"):
        for name in ("my-app", "other"):
            hook = f"#!/bin/bash\necho {name} {kind} >>/ran\n"
            files[f"install.d/{name}-{kind}-install/50-{name}"] = hook
    workshop.element("types", files)
    image = build(workshop, "types", DIB_INSTALLTYPE_my_app="repo")
    assert image.texts["ran"] == "my-app repo\nother source\n"
    workshop.element("types", {"install.d/my-app-repo-install/50-my-app": "exit 4\n"})
    hook = f"{workshop.directory}/elements/types/install.d/my-app-repo-install/50-my-app"
    text = refused(workshop, "types", DIB_INSTALLTYPE_my_app="repo")
    assert text.startswith(f"element types: {hook}")


SERVICES = "web:\n  tiny: tiny-web\n  default: httpd\nbus:\n  default: dbus\n"


def test_svc_map_prints_the_distributions_names(workshop: Workshop) -> None:
    workshop.element("services", {
        "element-deps": "svc-map\ndib-init-system\n",
        "svc-map": SERVICES,
        "init-scripts/systemd/bus.service": "[Unit]\n",
        "install.d/50-ask": "svc-map web bus other >/asked\n",
    })  # fmt: skip
    image = build(workshop, "services")
    assert image.texts["asked"] == "tiny-web\nbus\nother\n"
    assert image.texts["usr/share/svc-map/services"] == "bus: dbus\nweb: tiny-web\n"


def test_a_service_of_two_elements_is_refused(workshop: Workshop) -> None:
    for name in ("one", "two"):
        workshop.element(name, {"element-deps": "svc-map\n", "svc-map": SERVICES})
    text = refused(workshop, "one", "two")
    assert "two/svc-map:1:1: the service 'web' is mapped by another element too" in text


def test_the_newest_kernel_is_selected_on_both_sides(workshop: Workshop) -> None:
    kernels = "".join(f"touch $TARGET_ROOT/boot/{name}\n" for name in (
        "vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64",
        "vmlinuz-6.1.0-10-amd64", "initrd.img-6.1.0-10-amd64", "config-6.1.0-10-amd64",
    ))  # fmt: skip
    workshop.element("kernels", {
        "element-deps": "select-boot-kernel-initrd\n",
        "root.d/50-kernels": f"{kernels}touch $TARGET_ROOT/etc/debian_version\n",
        "install.d/50-inside": "select-boot-kernel-initrd >/chosen\n",
        "cleanup.d/50-host": (
            '. "$_LIB/img-functions"; select_boot_kernel_initrd $TARGET_ROOT\n'
            'echo "${BOOTDIR#$TARGET_ROOT} $KERNEL $RAMDISK" >>$TARGET_ROOT/chosen\n'
        ),
    })  # fmt: skip
    image = build(workshop, "kernels")
    newest = ("vmlinuz-6.1.0-10-amd64", "initrd.img-6.1.0-10-amd64")
    assert image.texts["chosen"] == f"{':'.join(newest)}\n/boot {' '.join(newest)}\n"
    assert "usr/lib/diskimage-builder" not in image.members
    image = build(workshop, "kernels", DIB_BAREMETAL_KERNEL_PATTERN="vmlinuz-*-9-*",
                  DIB_BAREMETAL_INITRD_PATTERN="initrd*-9-*")  # fmt: skip
    assert image.texts["chosen"].startswith("vmlinuz-6.1.0-9-amd64:initrd.img-6.1.0-9-amd64\n")


def test_a_tree_without_a_kernel_is_said(workshop: Workshop) -> None:
    workshop.element("kernels", {
        "element-deps": "select-boot-kernel-initrd\n",
        "root.d/50-kernels": "touch $TARGET_ROOT/etc/debian_version\n",
        "install.d/50-inside": "select-boot-kernel-initrd\n",
    })  # fmt: skip
    assert "/boot has no kernel (hint: install a kernel package)" in refused(workshop, "kernels")


def test_manifests_have_the_elements_and_the_arguments(workshop: Workshop) -> None:
    variables = {"DIB_SOME_TOKEN": "not for eyes", "DIB_MARK": "yes"}
    image = build(workshop, "element-manifest", DIB_MANIFEST_SAVE_DIR="own place", **variables)
    kept = workshop.directory / "own place/dib-manifests"
    elements = (kept / "dib-element-manifest").read_text().split()
    assert {"tiny", "packages", "element-manifest", "manifests"} <= set(elements)
    assert 'DIB_MARK="yes"' in (kept / "dib_environment").read_text()
    assert "not for eyes" not in (kept / "dib_environment").read_text()
    assert "element-manifest" in (kept / "dib_arguments").read_text()
    assert image.mode("etc/dib-manifests/dib-element-manifest") == 0o600
