"""What hooks of others may count on: one build of elements that look at everything."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from conftest import ROOT

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
HOST = ("root", "extra-data", "post-root", "block-device", "pre-finalise", "cleanup")
TARGET = ("pre-install", "install", "post-install", "finalise")
MULTI_LINE = """\
- local_loop: {name: image0}
- mkfs: {name: mkfs_root, base: image0, mount: {mount_point: /}}
"""
LOOK_OUTSIDE = """\
env -0 >seen/%(phase)s
pwd >seen/%(phase)s.pwd
get_image_element_array >seen/%(phase)s.array
(die "a message" 2>seen/%(phase)s.die) && exit 1
true
"""
LOOK_INSIDE = """\
mkdir -p /seen
env >/seen/%(phase)s
pwd >/seen/%(phase)s.pwd
cat /proc/self/mounts >/seen/%(phase)s.mounts
ls /tmp/in_target.d >/seen/%(phase)s.tree
(die "a message" 2>/seen/%(phase)s.die) && exit 1
true
"""
RUN_PARTS = """\
mkdir -p parts.d
for name in 10-b 9-a 010-a none 10-b.sh; do
    printf '#!/bin/bash\\necho %s\\n' "$name" >parts.d/$name
    chmod +x parts.d/$name
done
printf '#!/bin/bash\\nexit 4\\n' >parts.d/50-bad; chmod +x parts.d/50-bad
printf 'no program\\n' >parts.d/20-data
mkdir -p environment.d
echo 'export SEEN="${SEEN:-}a"; return' >environment.d/b.sh
echo 'export SEEN="${SEEN:-}A"' >environment.d/B
printf '#!/bin/bash\\necho none $SEEN\\n' >parts.d/none
set +e
$_LIB/dib-run-parts --list parts.d >seen/parts.list
$_LIB/dib-run-parts parts.d >seen/parts.out 2>seen/parts.err
echo $? >seen/parts.status
$_LIB/dib-run-parts >/dev/null 2>seen/parts.usage
echo $? >>seen/parts.status
RUN_PARTS_REGEX='sh$' $_LIB/dib-run-parts --list parts.d >seen/parts.regex
echo 'set +o xtrace
kept' | "$DIB_PYTHON_EXEC" $_LIB/outfilter.py -v -b -o seen/filtered >seen/filter.out
true
"""
ASK_PKG_MAP = """\
set +e
ask() { pkg-map "$@"; echo "status $?"; }
{
    ask --element mapped one two
    ask --element mapped --prefix - one
    ask --element mapped nothing
    ask --element mapped other
    ask --element mapped --missing-ok other one
    ask --element unknown one
    ask --element unknown --missing-ok one
    ask --element mapped --distro debian --release two one
    ask --element mapped
} >/seen/pkg-map 2>/seen/pkg-map.err
lists=/tmp/package-installs.json
package-installs-v2 --phase install.d -n $lists >/seen/installs
package-installs-v2 --phase post-install.d --uninstall --noop $lists >>/seen/installs
cp /tmp/package-installs.json /seen/
dib-init-system >/seen/init-system
true
"""
# apt-get and what goes with it, as far as `install-packages` calls them.
APT = {
    "apt-get": """\
words=() before=: real=yes
while [ $# -gt 0 ]; do
    case "$1" in
        -o) shift; [ "${1%%=*}" != DPkg::Pre-Invoke:: ] || before=${1#*=} ;;
        -s) real= ;;
        -*) ;;
        *) words+=("$1") ;;
    esac
    shift
done
echo "${words[*]}" >>/seen/apt
echo "Inst something"
[ "${words[1]}${real:-simulated}" != brokenyes ] || { sh -c "$before"; exit 100; }
[ "${words[1]}${real:-simulated}" != lostyes ] || [ -e /etc/apt/found ] || {
    touch /etc/apt/found
    exit 100
}
""",
    "dpkg-query": '[ "${*: -1}" = there ] && echo -n installed\n',
    "apt-mark": 'echo "mark $*" >>/seen/apt\n',
    "sha256sum": '[ "$1" != --status ]\n',
    "cmp": "exit 0\n",
    "sleep": 'echo "sleep $*" >>/seen/apt\n',
}
ASK_INSTALLER = """\
export PATH=/tmp/in_target.d/fake-apt:$PATH
mkdir -p /etc/apt /var/lib/apt/lists; touch /etc/apt/sources.list
ask() {
    echo "# $*" >>/seen/apt
    /tmp/in_target.d/apt-program/install-packages "$@" >>/seen/apt.out
}
ask one two
ask there
ask -e three
ask -u
ask -m mapped one
ask -d four
ask
ask -m mapped nothing
ask -h
ask lost
ask broken || echo "status $?" >>/seen/apt
rm -r /etc/apt /var/lib/apt
"""
MAP = """\
{"default": {"one": "default-one", "two": "two-a two-b", "nothing": ""},
 "family": {"debian": {"one": "family-one"}},
 "distro": {"tiny": {"one": "tiny-one"}},
 "release": {"debian": {"two": {"one": "release-one"}}}}
"""


@dataclass(frozen=True)
class Built:
    """The build: where it was started, its log, and its archive."""

    directory: Path
    log: str
    members: dict[str, tarfile.TarInfo]
    texts: dict[str, str]

    def outside(self, phase: str) -> dict[str, str]:
        """The environment of a hook on the host."""
        pairs = (self.directory / "seen" / phase).read_text().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def inside(self, phase: str) -> dict[str, str]:
        """The environment of a hook inside, without values that go on in the next line."""
        lines = self.texts[f"seen/{phase}"].splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def note(self, name: str) -> str:
        """What a hook on the host has written."""
        return (self.directory / "seen" / name).read_text()


@pytest.fixture(scope="module")
def built(images: Workshop) -> Built:
    """One build with everything."""
    (images.directory / "seen").mkdir()
    add_probe(images)
    add_odd_elements(images)
    done = images.create(
        *("-n", "-t", "tar,raw", "-o", "out", "-p", "first,second", "-p", "third", "--checksum"),
        *("tiny", "probe", "mapped", "links", "real-name", "element-manifest", "odd", "apt"),
        DIB_BLOCK_DEVICE_CONFIG=MULTI_LINE,
        DIB_MINE='a "quoted" $value',
        GUEST_USERNAME="guest",
        VIRTUAL_ENV="/venv",
        https_proxy="http://proxy:1",
        IMAGE_TYPES="qcow2",
        MKFS_OPTS="--no-such-option",
        LOGFILE="nowhere",
        COMPRESS_IMAGE="1",
        INSTALL_PACKAGES="no-such-package",
        PATH=":".join(p for p in os.environ["PATH"].split(":") if "sbin" not in p),
    )
    assert done.returncode == 0, done.stdout
    with tarfile.open(images.directory / "out.tar") as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        texts = {
            name: file.read().decode(errors="replace")
            for name, member in members.items()
            if member.isfile() and member.size < 50000 and (file := tar.extractfile(member))
        }
    return Built(images.directory, done.stdout, members, texts)


def add_probe(images: Workshop) -> None:
    hooks = {f"{phase}.d/60-look": LOOK_OUTSIDE % {"phase": phase} for phase in HOST}
    hooks |= {f"{phase}.d/60-look": LOOK_INSIDE % {"phase": phase} for phase in TARGET}
    images.element("probe", {
        **hooks,
        "element-deps": "package-installs\ndib-init-system\nmanifests\n",
        "bin/install-packages": '#!/bin/bash\nprintf "%s\\n" "$*" >>/installed\n',
        "extra-data.d/70-parts": RUN_PARTS,
        "extra-data.d/71-write": 'echo added >$TMP_HOOKS_PATH/added\n',
        "post-install.d/70-pkg-map": ASK_PKG_MAP,
    })  # fmt: skip


def add_odd_elements(images: Workshop) -> None:
    installer = ROOT / "elements/dpkg/bin/install-packages"
    images.element("apt", {
        **{f"fake-apt/{name}": f"#!/bin/bash\n{text}" for name, text in APT.items()},
        "apt-program/install-packages": installer.read_text(),
        "post-install.d/71-apt": ASK_INSTALLER,
    })  # fmt: skip
    images.element("mapped", {
        "element-deps": "pkg-map\npackage-installs\n",
        "pkg-map": MAP,
        "package-installs.yaml": (
            "one:\ntwo: {uninstall: true, phase: post-install.d}\n"
            "odd: [{arch: 'arm64, amd64'}, {when: DIB_MINE = other}]\nnot-here: {not-arch: amd64}\n"
        ),
    })  # fmt: skip
    images.element("elsewhere", {"install.d/30-linked": "echo linked >>/order\n"})
    real = images.element("real-name", {"extra-data.d/30-real": "true\n"})
    (images.directory / "elements/linked-name").symlink_to(
        real.rename(images.directory / "real-name")
    )
    links = images.element("links", {"data/.hidden": "x\n", "data/plain": "x\n", "top": "x\n"})
    (links / "install.d").symlink_to(images.directory / "elements/elsewhere/install.d")
    images.element("odd", {
        "environment.d/100-first": "export ORDER=${ORDER:-}1\nreturn 0\nexport ORDER=never\n",
        "environment.d/11-second.bash": "export ORDER=${ORDER}2\n",
        "environment.d/9-last": "export ORDER=${ORDER}3\n",
        "install.d/40-not.sh": "echo never >>/order\n",
        "install.d/41-odd": 'echo "$ORDER" >>/order\n',
        "tests/install.d/42-test": "exit 1\n",
        "init-scripts/systemd/odd.service": "[Unit]\n",
        "data/also": "y\n",
        "root.d/70-odd": (
            "cd $TARGET_ROOT; echo dot >.dot; mkdir lost+found; ln etc/passwd etc/hard\n"
            "mkdir -p root var/log; echo x >root/x.log; echo x >var/log/y; echo x >tmp/z\n"
        ),
    })  # fmt: skip


def test_the_log_begins_and_ends_as_consumers_know_it(built: Built) -> None:
    lines = [line.partition(" | ")[2] for line in built.log.splitlines()]
    assert lines[1].startswith("Building elements: tiny probe ")
    assert any(line.startswith("Expanded element dependencies to: ") for line in lines)
    assert any(line.startswith("Building in /") for line in lines)
    assert "dib-run-parts Running install.d/41-odd" in lines
    assert "dib-run-parts 41-odd completed" in lines
    assert "Target: install.d" in lines
    assert lines[-1] == "Build completed successfully"


@pytest.mark.parametrize("phase", HOST)
def test_hooks_on_the_host_know_the_places_of_the_build(built: Built, phase: str) -> None:
    seen = built.outside(phase)
    for name in ("TMP_BUILD_DIR", "TMP_HOOKS_PATH", "TMP_IMAGE_DIR", "TMP_MOUNT_PATH", "_LIB"):
        assert seen[name].startswith("/")
    assert ("TARGET_ROOT" in seen) == (phase in {"root", "cleanup"})
    assert seen.get("TARGET_ROOT", seen["TMP_MOUNT_PATH"]) == seen["TMP_MOUNT_PATH"]
    assert built.note(f"{phase}.pwd") == f"{built.directory}\n"
    assert {"/sbin", "/usr/sbin", "/usr/local/sbin"} <= {*seen["PATH"].split(":")}


@pytest.mark.parametrize("phase", HOST)
def test_hooks_on_the_host_have_the_functions_of_the_driver(built: Built, phase: str) -> None:
    array = built.note(f"{phase}.array")
    assert f"[odd]={built.directory}/elements/odd" in array
    assert f"[real-name]={built.directory}/real-name" in array
    assert "[linked-name]" not in array
    assert built.note(f"{phase}.die") == "a message\n"


@pytest.mark.parametrize("phase", [*HOST, *TARGET])
def test_every_phase_knows_the_image(built: Built, phase: str) -> None:
    seen = built.outside(phase) if phase in HOST else built.inside(phase)
    expected = {
        "LC_ALL": "C", "IMAGE_NAME": "out", "FS_TYPE": "ext4", "DIB_CHECKSUM": "1",
        "DIB_ROOT_LABEL": "cloudimg-rootfs", "DIB_ROOT_FSTYPE": "ext4", "DIB_BOOT_LABEL": "",
        "DIB_MOUNTPOINTS": "/", "DIB_OFFLINE": "", "DIB_DEBUG_TRACE": "0", "DISTRO_NAME": "tiny",
        "GUEST_USERNAME": "guest", "https_proxy": "http://proxy:1", "ORDER": "123",
        "DIB_MINE": 'a "quoted" $value', "DIB_DEFAULT_INSTALLTYPE": "source",
    }  # fmt: skip
    assert {name: seen.get(name) for name in expected} == expected
    for name in ("ARCH", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_PYTHON_EXEC", "ELEMENTS_PATH"):
        assert seen[name]
    elements = seen["IMAGE_ELEMENT"].split()
    assert {"tiny", "probe", "real-name", "manifests", "package-installs"} <= {*elements}
    if phase in HOST:  # it is a text of several lines
        assert list(yaml.safe_load(seen["IMAGE_ELEMENT_YAML"])) == elements


def test_a_variable_of_many_lines_reaches_hooks(built: Built) -> None:
    assert built.outside("cleanup")["DIB_BLOCK_DEVICE_CONFIG"] == MULTI_LINE


def test_what_was_asked_for_can_be_written_down(built: Built) -> None:
    seen = built.outside("cleanup")
    assert seen["DIB_ARGS"].startswith("-n -t tar,raw -o out -p first,second -p third")
    assert f'declare -x DIB_ARGS="{seen["DIB_ARGS"]}"' in seen["DIB_ENV"]
    assert 'declare -x DIB_MINE="a \\"quoted\\" \\$value"' in seen["DIB_ENV"]
    manifests = built.directory / "out.d/dib-manifests"
    assert "DIB_MINE" in (manifests / "dib_environment").read_text()
    assert (manifests / "dib_arguments").read_text() == f"{seen['DIB_ARGS']}\n"
    assert "odd" in (manifests / "dib-element-manifest").read_text().split()
    locked = built.members["etc/dib-manifests/dib_environment"]
    assert (locked.mode, locked.uid) == (0o600, 0)


@pytest.mark.parametrize("phase", TARGET)
def test_hooks_inside_begin_at_the_root_and_with_a_clean_path(built: Built, phase: str) -> None:
    seen = built.inside(phase)
    assert built.texts[f"seen/{phase}.pwd"] == "/\n"
    assert seen["HOME"] == "/root"
    assert seen["PATH"].startswith("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    assert "TMPDIR" not in seen
    assert "VIRTUAL_ENV" not in seen
    assert built.texts[f"seen/{phase}.die"] == "a message\n"


@pytest.mark.parametrize("phase", TARGET)
def test_the_kernels_filesystems_are_there_inside(built: Built, phase: str) -> None:
    rows = [line.split() for line in built.texts[f"seen/{phase}.mounts"].splitlines()]
    mounted = {row[1]: (row[2], row[3].split(",")) for row in rows}
    assert mounted["/proc"][0] == "proc"
    assert mounted["/dev/pts"][0] == "devpts"
    assert "/dev" in mounted
    kind, options = mounted["/sys"]
    assert kind == "sysfs"
    assert "ro" in options
    assert "ro" in mounted["/tmp/in_target.d"][1]


@pytest.mark.parametrize("phase", TARGET)
def test_the_merged_tree_is_at_in_target_d(built: Built, phase: str) -> None:
    listed = built.texts[f"seen/{phase}.tree"].split()
    assert {"install.d", "environment.d", "bin", "data", "top", "dib-run-parts"} <= {*listed}
    assert "added" in listed
    assert "tests" not in listed


def test_hooks_run_by_their_numbers_and_not_with_a_dot(built: Built) -> None:
    assert built.texts["order"].splitlines() == ["linked", "123"]
    assert "40-not.sh will not run: a dot in its name" in built.log


def test_packages_of_the_command_line_are_installed_after_install_d(built: Built) -> None:
    installed = built.texts["installed"].splitlines()
    assert installed == ["odd tiny-one", "first second third", "-e two-a two-b"]


def test_package_lists_are_as_package_installs_squash_writes_them(built: Built) -> None:
    found = yaml.safe_load(built.texts["seen/package-installs.json"])
    assert found["install.d"]["install"] == [["odd", "mapped"], ["one", "mapped"]]
    assert found["post-install.d"]["uninstall"] == [["two", "mapped"]]
    shown = built.texts["seen/installs"].splitlines()
    assert shown == ["install-packages odd tiny-one", "install-packages -e two-a two-b"]


def test_pkg_map_answers_with_names_and_statuses(built: Built) -> None:
    answers = built.texts["seen/pkg-map"].splitlines()
    assert answers == [
        *("tiny-one", "two-a two-b", "status 0"),
        *("-tiny-one", "status 0"),
        "status 0",
        "status 1",
        *("other", "tiny-one", "status 0"),
        "status 2",
        *("one", "status 0"),
        *("release-one", "status 0"),
        "status 0",
    ]
    assert "usr/share/pkg-map/mapped" in built.members


def test_install_packages_does_what_its_options_say(built: Built) -> None:
    calls = built.texts["seen/apt"].split("# ")[1:]
    assert [call.splitlines() for call in calls] == [
        ["one two", "update", "install one two"],
        ["there", "mark manual there"],
        ["-e three", "remove three"],
        ["-u", *["dist-upgrade"] * 2],  # a simulation, and it
        ["-m mapped one", "install tiny-one"],
        ["-d four", "install four"],
        [""],
        ["-m mapped nothing"],
        ["-h"],
        # What cannot be downloaded is tried again; what dpkg has begun is not.
        ["lost", *["install lost"] * 2, "sleep 1", "update", "install lost"],
        ["broken", "install broken", "status 100"],
    ]
    said = built.texts["seen/apt.out"]
    assert said.count("install-packages: no packages to install") == 2
    assert "Usage: install-packages" in said


def test_dib_run_parts_runs_what_its_regex_wants_in_order(built: Built) -> None:
    listed = [f"parts.d/{name}" for name in ("none", "9-a", "010-a", "10-b", "50-bad")]
    assert built.note("parts.list").splitlines() == listed
    assert built.note("parts.out").splitlines() == ["none Aa", "9-a", "010-a", "10-b"]
    assert built.note("parts.status").split() == ["4", "1"]
    assert built.note("parts.regex").split() == ["parts.d/10-b.sh"]
    errors = built.note("parts.err")
    assert "dib-run-parts Running parts.d/9-a" in errors
    assert "dib-run-parts Sourcing environment file parts.d/../environment.d/b.sh" in errors
    assert "PROFILING" not in errors  # only after a success
    assert "Usage" in built.note("parts.usage")


def test_outfilter_drops_what_shells_say_of_tracing(built: Built) -> None:
    assert built.note("filter.out") == "kept\n"
    assert built.note("filtered").endswith(" | kept\n")


def test_init_systems_are_known_and_get_their_scripts(built: Built) -> None:
    assert built.texts["seen/init-system"] == "systemd\n"
    assert "usr/lib/systemd/system/odd.service" in built.members


def test_the_tree_keeps_what_hooks_made_and_loses_what_is_left_over(built: Built) -> None:
    assert built.texts[".dot"] == "dot\n"
    assert built.members["etc/passwd"].islnk() != built.members["etc/hard"].islnk()
    assert "lost+found" not in built.members
    assert "root/x.log" not in built.members
    assert built.texts["var/log/y"] == ""
    assert [name for name in built.members if name.startswith("tmp/")] == []
    assert {"proc", "sys", "dev", "run", "tmp"} <= built.members.keys()


def test_variables_that_the_driver_resets_say_nothing(built: Built) -> None:
    assert not (built.directory / "out.qcow2").exists()
    assert not (built.directory / "nowhere").exists()
    assert (built.directory / "out.raw").is_file()


def test_checksums_are_of_disks_and_can_be_checked(built: Built) -> None:
    for name in ("md5", "sha256"):
        done = subprocess.run(
            [f"{name}sum", "-c", f"out.raw.{name}"], cwd=built.directory, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == "out.raw: OK\n"


def test_a_disk_that_a_hook_makes_itself_is_refused_in_words(images: Workshop) -> None:
    images.element("own-disk", {"block-device.d/50-own": "echo IMAGE_BLOCK_DEVICE=/dev/loop9\n"})
    done = images.create("-n", "-t", "tar", "-o", "own", "tiny", "own-disk")
    assert done.returncode == 1
    error = done.stdout.rsplit("error: ", 1)[-1]
    assert "block-device.d/50-own has made a disk of its own" in error
    assert "hint: describe the disk" in error


def test_help_and_version_touch_nothing(images: Workshop, tmp_path: Path) -> None:
    home = tmp_path / "none"
    version, usage = (images.create(word, HOME=str(home)) for word in ("--version", "-h"))
    assert version.returncode == usage.returncode == 0
    assert re.fullmatch(r"\d+(\.\d+)+\S*\n", version.stdout)
    assert usage.stdout.startswith("Usage: disk-image-create")
    assert not home.exists()
