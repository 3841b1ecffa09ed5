"""The command lines that other projects send, exactly as they send them, and the files they read.

Elements that stand in for theirs build a tiny root. What is checked is what each project looks at
afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conformance.programs_on_path import install, search_path
from conftest import ELEMENTS

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| "
INSTALLER = '#!/bin/bash\necho "$@" >>/installed\n'
# What ironic-python-agent-builder does in cleanup.d, on a tree without a kernel.
RAMDISK = """\
source $_LIB/img-functions
IMAGE_PATH=$(readlink -f $IMAGE_NAME)
sudo touch $TARGET_ROOT/boot/vmlinuz-1
sudo cp $TARGET_ROOT/boot/vmlinuz-1 ${IMAGE_PATH}.kernel
echo "#disabled" > ./tmp_fstab; sudo rm -f ./tmp_fstab
pushd $TARGET_ROOT >/dev/null
sudo find . -xdev | sudo tar -cf ${IMAGE_PATH}.initramfs --no-recursion -T -
popd >/dev/null
pushd $(dirname $IMAGE_PATH) >/dev/null
if [ "${DIB_CHECKSUM}" = sha256 ]; then
    sha256sum $(basename $IMAGE_NAME).kernel $(basename $IMAGE_NAME).initramfs >${IMAGE_PATH}.sha256
fi
popd >/dev/null
"""


@pytest.fixture(scope="module")
def site(images: Workshop) -> Workshop:
    """A workshop with elements that stand in for those of distributions and projects."""
    for name in ("ubuntu-minimal", "debian-minimal", "rocky-container", "ubuntu-node"):
        shutil.copytree(ELEMENTS / "tiny", images.directory / "elements" / name)
        images.element(name, {"element-deps": "install-bin\n", "bin/install-packages": INSTALLER})
    images.element("base", {"element-deps": "manifests\n"})
    images.element("vm", {"element-deps": "block-device\n"})
    images.element("cloud-init", {"install.d/50-cloud": "touch /cloud\n"})
    images.element(
        "baremetal", {"cleanup.d/99-extract-kernel": "touch $IMAGE_NAME.{vmlinuz,initrd}\n"}
    )
    images.element("bad-finish", {"element-deps": "manifests\n", "cleanup.d/98-bad": "exit 5\n"})
    images.element("amphora-agent", {
        "install.d/50-see": 'echo "${DIB_OCTAVIA_AMP_USE_SSH:-}" >/use-ssh\n',
    })  # fmt: skip
    images.element("ironic-python-agent-ramdisk", {
        "element-deps": "no-final-image\n",
        "cleanup.d/99-ramdisk-create": RAMDISK,
    })  # fmt: skip
    images.element("ramdisk", {
        "element-deps": "no-final-image\n",
        "cleanup.d/99-ramdisk": "touch $IMAGE_NAME.{kernel,initramfs}\n",
    })  # fmt: skip
    images.element("block-device-kubernetes", {
        "element-provides": "block-device\n",
        "block-device-default.yaml": (
            "- local_loop: {name: image0}\n"
            "- partitioning: {base: image0, label: gpt, partitions: "
            "[{name: root, size: 100%, mkfs: {mount: {mount_point: /}}}]}\n"
        ),
    })  # fmt: skip
    return images


def shell(site: Workshop, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of shell, as cron and CI do."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=site.directory,
        env=environment(site, variables),
        capture_output=True,
        text=True,
        check=False,
    )


def environment(site: Workshop, given: Mapping[str, str]) -> dict[str, str]:
    variables = site.variables({"PATH": search_path(site.directory), **given})
    return {**variables, "ELEMENTS_PATH": f"{site.directory}/elements"}


def digest(path: Path, name: str) -> str:
    return hashlib.new(name, path.read_bytes()).hexdigest()


def file_format(path: Path) -> str:
    head = path.read_bytes()[:512]
    return "qcow2" if head[:4] == b"QFI\xfb" else "raw"


def test_nodepool(site: Workshop) -> None:
    """`DibImageBuilder._buildImage`: no shell, a merged log, an empty DIB_RELEASE."""
    out = site.directory / "ubuntu-0000000001"
    words = shlex.split(
        "-x -t qcow2,raw --checksum --no-tmpfs --qemu-img-options 'compat=0.10'"
        f" -o {out} vm ubuntu-minimal"
    )
    done = subprocess.run(
        [install(site.directory) / "disk-image-create", *words],
        cwd="/",
        env=environment(site, {
            "DIB_RELEASE": "", "DIB_IMAGE_NAME": "ubuntu", "DIB_IMAGE_FILENAME": str(out),
        }),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert all(re.match(STAMP, line) for line in done.stdout.splitlines())
    assert done.stdout.rstrip().endswith("Build completed successfully")
    for kind in ("qcow2", "raw"):
        image = Path(f"{out}.{kind}")
        assert file_format(image) == kind
        assert image.stat().st_blocks > 0
        for name, length in (("md5", 32), ("sha256", 64)):
            line = Path(f"{image}.{name}").read_text()
            assert line == f"{digest(image, name)}  {image}\n"
            assert line[:length] == digest(image, name)
    assert Path(f"{out}.qcow2").read_bytes()[4:8] == b"\0\0\0\2"  # what compat=0.10 asks for
    assert Path(f"{out}.d").is_dir()


def test_zuul_build_diskimage(site: Workshop) -> None:
    """By absolute path, without a venv's environment; the second try follows a finished first."""
    program = install(site.directory) / "disk-image-create"
    (site.directory / "zuul").mkdir()
    script = (
        f'"{program}" -o "{site.directory}/zuul/image" -t "qcow2,raw" '
        f'--logfile "{site.directory}/zuul/diskimage-image.log" ubuntu-minimal cloud-init'
    )
    for _ in range(2):
        done = shell(site, script, PATH=os.environ["PATH"])
        assert done.returncode == 0
        assert done.stdout == f"Output logs going to: {site.directory}/zuul/diskimage-image.log\n"
        assert done.stderr == ""
    log = (site.directory / "zuul/diskimage-image.log").read_text()
    assert log.count("Build completed successfully") == 2
    assert all(re.match(STAMP, line) for line in log.splitlines())
    names = sorted(path.name for path in (site.directory / "zuul").glob("image*.qcow2"))
    assert "image.qcow2" in names
    assert all(re.fullmatch(r"image(-\d{4}(\.\d\d){2}-\d\d(\.\d\d){2})?\.qcow2", n) for n in names)


def test_octavia(site: Workshop) -> None:
    """`diskimage-create.sh`: empty arguments, and all elements in one."""
    probe = shell(site, "disk-image-create --version >/dev/null")
    assert probe.returncode == 0
    done = shell(
        site,
        'TEMP=$(mktemp -d diskimage-create.XXXXXX); pushd $TEMP >/dev/null\n'
        f'AMP_OUTPUTFILENAME={site.directory}/amphora-x64-haproxy\n'
        'AMP_LOGFILE="--logfile=../amphora.log"; dib_trace_arg=""\n'
        'AMP_DISABLE_TMP_FS="--no-tmpfs"\n'
        'AMP_element_sequence="base vm ubuntu-minimal amphora-agent"\n'
        'disk-image-create "$AMP_LOGFILE" "$dib_trace_arg" -a amd64 -o "$AMP_OUTPUTFILENAME" '
        '-t qcow2 --image-size 2 --image-cache "$HOME/.cache/image-create" '
        '"$AMP_DISABLE_TMP_FS" "$AMP_element_sequence"\n'
        'status=$?; popd >/dev/null; rm -rf $TEMP\n'
        'stat -c "%n %s" "$AMP_OUTPUTFILENAME.qcow2" && exit $status\n',
        DIB_OCTAVIA_AMP_USE_SSH="True",
        DIB_GRUB_TIMEOUT="0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Output logs going to: ../amphora.log\n")
    log = (site.directory / "amphora.log").read_text()
    assert "Building elements: base vm ubuntu-minimal amphora-agent block-device-mbr\n" in log
    empty = shell(site, 'disk-image-create "" "" -t tar -o empty "" "ubuntu-minimal amphora-agent"')
    assert empty.returncode == 0, empty.stdout


def test_bifrost(site: Workshop) -> None:
    """The role's options in its order, piped into tee; `-c`, and a block device in a variable."""
    done = shell(
        site,
        "set -o pipefail; disk-image-create -x -u -c --no-tmpfs --offline -a amd64 "
        "-o bifrost -t raw --image-size 1 --image-cache cache --max-online-resize 9000000 "
        "--min-tmpfs 3 --qemu-img-options preallocation=off --root-label bifrost-root "
        "--ramdisk-element ramdisk -p curl,jq debian-minimal vm cloud-init 2>&1 | tee bifrost.log",
        DIB_BLOCK_DEVICE_CONFIG=(
            "- local_loop:\n    name: image0\n- mkfs:\n    name: mkfs_root\n    base: image0\n"
            "    mount:\n      mount_point: /\n"
        ),
        LANG="C",
    )
    assert done.returncode == 0, done.stdout
    assert (site.directory / "bifrost.raw").stat().st_size == 1 << 30
    assert "install-packages" in (site.directory / "bifrost.log").read_text()
    with (site.directory / "bifrost.raw").open("rb") as file:
        file.seek(1024 + 0x78)  # s_volume_name: no partition table lies before it
        assert file.read(16).rstrip(b"\0") == b"bifrost-root"


def test_bifrost_typo_fails_as_getopt_lets_it(site: Workshop) -> None:
    done = shell(site, "disk-image-create -mkfs-options '-i 8192' -o typo ubuntu-minimal")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "option -m not recognized" in done.stderr
    assert not list(site.directory.glob("typo*"))


def test_bifrost_ramdisk(site: Workshop) -> None:
    done = shell(
        site, "ramdisk-image-create -a amd64 -o br --ramdisk-element ramdisk ubuntu-minimal"
    )
    assert done.returncode == 0, done.stdout
    names = {path.name for path in site.directory.glob("br.*")}
    assert names == {"br.kernel", "br.initramfs", "br.d"}


def test_kayobe(site: Workshop) -> None:
    """The role `os_images`: streams apart, `3GB`, and a marker that says that it is done."""
    (site.directory / "kayobe").mkdir()
    script = (
        "cd kayobe; disk-image-create --image-size 1GB -t qcow2 -p jq,tmux rocky-container vm "
        "cloud-init baremetal -o deployment -a amd64 > deployment.stdout 2> deployment.stderr"
    )
    done = shell(site, script)
    assert done.returncode == 0
    place = site.directory / "kayobe"
    assert "Build completed successfully" in (place / "deployment.stdout").read_text()
    assert (place / "deployment.stderr").read_text() == ""
    assert (place / "deployment.d/dib-manifests").is_dir()
    assert "install-packages completed" in (place / "deployment.stdout").read_text()
    for suffix in ("qcow2", "vmlinuz", "initrd"):
        assert (place / f"deployment.{suffix}").is_file()


def test_kayobe_tries_again_what_failed(site: Workshop) -> None:
    """diskimage-builder leaves the marker of a build that failed; here it goes."""
    done = shell(site, "disk-image-create -o failed -t tar ubuntu-minimal bad-finish")
    assert done.returncode == 5
    assert not (site.directory / "failed.d/dib-manifests").exists()
    assert not (site.directory / "failed.tar").exists()


def test_ironic_python_agent_builder(site: Workshop) -> None:
    """A relative name, a hook that works in the caller's directory, and no disk."""
    done = shell(
        site,
        "unset USER; disk-image-create -o ipa ironic-python-agent-ramdisk debian-minimal "
        "--no-tmpfs -x",
        DIB_INSTALLTYPE_pip_and_virtualenv="package",
        DIB_CHECKSUM="sha256",
        DIB_REPOREF_requirements="master",
    )
    assert done.returncode == 0, done.stdout
    for suffix in ("kernel", "initramfs", "sha256", "d"):
        assert (site.directory / f"ipa.{suffix}").exists()
    assert not (site.directory / "ipa.qcow2").exists()
    lines = (site.directory / "ipa.sha256").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["ipa.kernel", "ipa.initramfs"]
    listed = shell(site, "tar -tf ipa.initramfs").stdout.splitlines()
    assert "./usr/bin/bash" in listed
    assert [name for name in listed if re.match(r"\./(proc|sys|dev)/.", name)] == []


def test_tripleo(site: Workshop) -> None:
    """Options and packages of a `disk_images` entry, and a variable that looks like an option."""
    done = shell(
        site,
        f"disk-image-create -a amd64 -o {site.directory}/overcloud-full -t qcow2 -p curl,jq "
        "--min-tmpfs 7 -n ubuntu-minimal cloud-init baremetal",
        COMPRESS_IMAGE="1",
    )
    assert done.returncode == 0, done.stdout
    assert "Building elements: ubuntu-minimal cloud-init baremetal\n" in done.stdout
    assert "install-packages completed" in done.stdout
    assert file_format(site.directory / "overcloud-full.qcow2") == "qcow2"


def test_edpm(site: Workshop) -> None:
    """Two files, of which the second adds an element to the image of the first."""
    (site.directory / "edpm.yaml").write_text(
        "- imagename: edpm\n  types: [raw, tar]\n  debug-trace: 1\n  min-tmpfs: 5\n"
        "  checksum: true\n  environment: {DIB_MARK: 'first'}\n  elements: [ubuntu-minimal]\n"
    )
    (site.directory / "fips.yaml").write_text(
        "- imagename: edpm\n  environment: {DIB_OTHER: '1'}\n  elements: [cloud-init]\n"
    )
    dry = shell(site, "diskimage-builder edpm.yaml fips.yaml --dry-run")
    assert dry.returncode == 0
    line = "-o edpm -t raw,tar -x --checksum --min-tmpfs 5 ubuntu-minimal cloud-init"
    assert line in dry.stderr
    done = shell(site, "diskimage-builder edpm.yaml fips.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("edpm.raw", "edpm.tar", "edpm.raw.md5", "edpm.raw.sha256"):
        assert (site.directory / name).is_file()


def test_manila(site: Workshop) -> None:
    """`-offline` is `-o ffline`, and the later `-o` wins."""
    done = shell(
        site,
        "disk-image-create -t qcow2 -a amd64 -offline -x -u -o manila-service-image "
        "vm ubuntu-minimal",
        DIB_DEFAULT_INSTALLTYPE="package",
        DIB_MANILA_USER_AUTHORIZED_KEYS="None",
    )
    assert done.returncode == 0, done.stdout
    assert (site.directory / "manila-service-image.qcow2").is_file()
    assert not list(site.directory.glob("ffline*"))


def test_metal3(site: Workshop) -> None:
    """A name with dots that ends with the one type's suffix."""
    name = "UBUNTU_24.04_NODE_IMAGE_K8S_v1.36.2"
    done = shell(
        site,
        f'disk-image-create --no-tmpfs -a amd64 -o "{name}".qcow2 ubuntu-node block-device-efi',
        HOSTNAME=name,
    )
    assert done.returncode == 0, done.stdout
    assert (site.directory / f"{name}.qcow2").is_file()
    assert (site.directory / f"{name}.d").is_dir()


def test_cluster_api(site: Workshop) -> None:
    """Two types: nothing is cut off; a layout that is not ours stands for the default one."""
    done = shell(
        site,
        "disk-image-create -t qcow2,raw -o ubuntu-24.04-v1.31.1.raw vm ubuntu-minimal "
        "block-device-kubernetes",
        DIB_IMAGE_SIZE="1",
        DIB_CLOUD_INIT_GROWPART_DEVICES='["/"]',
    )
    assert done.returncode == 0, done.stdout
    assert "block-device-mbr" not in done.stdout
    raw = site.directory / "ubuntu-24.04-v1.31.1.raw.raw"
    assert raw.stat().st_size == 1 << 30
    with raw.open("rb") as file:
        assert file.read(1024)[512:520] == b"EFI PART"


def test_sylva(site: Workshop) -> None:
    """Lists of packages that may be empty."""
    done = shell(
        site,
        'disk-image-create -a amd64 -t tar -o sylva.tar -p "" -p "" ubuntu-minimal cloud-init && '
        'disk-image-create -a amd64 -t tar -o some.tar -p "a,b" -p "c" ubuntu-minimal cloud-init',
    )
    assert done.returncode == 0, done.stdout
    assert "./installed" not in shell(site, "tar -tf sylva.tar").stdout.splitlines()
    assert shell(site, "tar -xOf some.tar ./installed").stdout == "a b c\n"


def test_trove_and_sahara(site: Workshop) -> None:
    """Options between elements, a cache that is gone, and nothing left from build to build."""
    done = shell(
        site,
        "rm -rf gone; disk-image-create -x -a amd64 -o trove.qcow2 -t qcow2 --image-size 1 "
        "--image-cache gone base vm ubuntu-minimal cloud-init\n"
        "export DIB_IMAGE_SIZE=2; disk-image-create -t raw -x -o sahara ubuntu-minimal vm\n"
        "unset DIB_IMAGE_SIZE; disk-image-create ubuntu-minimal -t raw -o sahara-2 vm",
        DISTRO_NAME="ubuntu",
    )
    assert done.returncode == 0, done.stdout
    assert (site.directory / "trove.qcow2").is_file()
    assert (site.directory / "gone").is_dir()
    assert (site.directory / "sahara.raw").stat().st_size == 2 << 30
    assert (site.directory / "sahara-2.raw").stat().st_size < 1 << 30


def test_diskimage_builders_own_functional_tests(site: Workshop) -> None:
    """`run_functests.sh`: a file with YAML's booleans, and elements that have to fail."""
    site.element("fails", {"install.d/50-fail": "touch /tmp/dib-test-should-fail; exit 1\n"})
    for name, element in (("good", "cloud-init"), ("bad", "fails")):
        (site.directory / f"{name}.yaml").write_text(
            f"- imagename: {site.directory}/functest-{name}\n  types: [tar, qcow2]\n"
            f"  skip-base: yes\n  debug-trace: 1\n  no-tmpfs: yes\n"
            f"  logfile: {site.directory}/functest-{name}.log\n"
            f"  elements: [ubuntu-minimal, {element}]\n"
        )
        done = shell(
            site,
            f"break=after-error break_outside_target=1 "
            f'break_cmd="cp -v \\$TMP_MOUNT_PATH/tmp/dib-test-should-fail {name}.failed || true" '
            f"diskimage-builder {name}.yaml",
        )
        assert done.returncode == (0 if name == "good" else 1), done.stderr
        assert (site.directory / f"{name}.failed").exists() == (name == "bad")
        log = (site.directory / f"functest-{name}.log").read_text()
        assert ("Build completed successfully" in log) == (name == "good")
    assert (site.directory / "functest-good.tar").is_file()


def test_ironic_devstack(site: Workshop) -> None:
    """All elements in the first word, and a layout in a file."""
    (site.directory / "disk.yaml").write_text(
        "- local_loop: {name: image0}\n- mkfs: {name: mkfs_root, base: image0, mount: "
        "{mount_point: /}}\n"
    )
    done = shell(
        site,
        'disk-image-create "ubuntu-minimal cloud-init" -x -t raw -o devstack vm',
        DIB_BLOCK_DEVICE_CONFIG="file://disk.yaml",
        DIB_BLOCK_SIZE="4096",
    )
    assert done.returncode == 0, done.stdout
    assert (site.directory / "devstack.raw").is_file()


def test_chameleon_reads_what_hooks_leave_beside_the_image(site: Workshop) -> None:
    site.element("cc", {
        "element-deps": "manifests\n",
        "finalise.d/50-provenance": (
            'mkdir -p $DIB_MANIFEST_IMAGE_DIR\n'
            'echo "{\\"from\\": \\"$DIB_CC_PROVENANCE\\"}" >$DIB_MANIFEST_IMAGE_DIR/p.json\n'
        ),
    })  # fmt: skip
    done = shell(
        site,
        f"disk-image-create -a amd64 -o {site.directory}/cc -t tar --no-tmpfs ubuntu-minimal cc",
        DIB_CC_PROVENANCE="eyJhIjogMX0=",
    )
    assert done.returncode == 0, done.stdout
    found = json.loads((site.directory / "cc.d/dib-manifests/p.json").read_text())
    assert found == {"from": "eyJhIjogMX0="}
