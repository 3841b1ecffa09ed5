"""What installers would not take is found in answers, with its line; the rest is placed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagebuilder.answers import load, place
from imagebuilder.answers.model import Answers, Kind, Place, Scripts
from imagebuilder.errors import ConfigError

PRESEED = """\
# answers
d-i netcfg/get_hostname string web
d-i partman-auto/expert_recipe string a : \\
  100 1 100 ext4 .
d-i preseed/early_command string echo \\
  done
"""
KICKSTART = "lang en_US.UTF-8\nrootpw --plaintext secret\n%packages\n@core\n%end\n"
AUTOINSTALL = "version: 1\nidentity: {hostname: web, username: me, password: $6$a$b}\n"
PROXMOX = """\
[global]
keyboard = "de"
country = "at"
fqdn = "pve.example.org"
mailto = "root@example.org"
timezone = "Europe/Vienna"
root-password = "12345678"

[network]
source = "from-dhcp"

[disk-setup]
filesystem = "ext4"
disk-list = ["sda"]
"""
GOOD = {
    Kind.PRESEED: ("preseed.cfg", PRESEED),
    Kind.KICKSTART: ("ks.cfg", KICKSTART),
    Kind.AUTOINSTALL: ("autoinstall.yaml", AUTOINSTALL),
    Kind.PROXMOX: ("answer.toml", PROXMOX),
}


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


def good(directory: Path, kind: Kind) -> Answers:
    return load.load(written(directory, *GOOD[kind]))


@pytest.mark.parametrize("kind", list(Kind))
def test_the_kind_is_seen(tmp_path: Path, kind: Kind) -> None:
    assert good(tmp_path, kind).kind is kind


@pytest.mark.parametrize("kind", list(Kind))
def test_the_kind_is_seen_without_a_telling_name(tmp_path: Path, kind: Kind) -> None:
    assert load.detect(GOOD[kind][1], tmp_path / "answers") is kind


BAD = [
    ("preseed.cfg", "d-i netcfg/get_hostname\n", ":1: not an answer"),
    ("preseed.cfg", "d-i hostname string x\n", ":1: not a question: 'hostname'"),
    ("preseed.cfg", "\nd-i a/b strin x\n", ":2: no such type: 'strin'"),
    ("preseed.cfg", "d-i a/b boolean yes\n", ":1: a/b is true or false, not 'yes'"),
    ("preseed.cfg", "d-i a/b string 1\nd-i a/b string 2\n", ":2: a/b is answered in line 1"),
    ("preseed.cfg", "# nothing\n", "answers no question"),
    ("ks.cfg", "lang C\n%post\nls\n", ":2: %post has no %end"),
    ("ks.cfg", "%end\n", ":1: %end ends nothing"),
    ("ks.cfg", "%pre\n%post\n%end\n", ":2: %post begins inside %pre of line 1"),
    ("ks.cfg", "%postt\n%end\n", ":1: no such section: %postt"),
    ("user-data", "autoinstall: {version: 1}\n", "is not taken for user-data by cloud-init"),
    ("user-data", "#cloud-config\nversion: 1\n", "has no key autoinstall"),
    ("a.yaml", "version: 2\n", ":1:10: in 'version': 1 was expected"),
    ("a.yaml", "version: 1\nidentitty: {}\n", ":2:1: unknown key 'identitty'"),
    ("a.yaml", "version: 1\n", "names no user to make"),
    ("a.yaml", "- 1\n", "is no mapping of keys"),
    ("a.yaml", AUTOINSTALL.replace("$6$a$b", "secret"), ":2:51: in 'identity.password': not an"),
    ("answer.toml", "[global\n", ":1:8: is not valid TOML"),
    ("answer.toml", PROXMOX.replace('"de"', '"xx"'), ":2:1: in 'global.keyboard': 'xx' is not one"),
    ("answer.toml", PROXMOX.replace("root-password", "password"), ":7:1: in 'global': unknown key"),
    ("answer.toml", PROXMOX + 'filter.ID = "x"\n', ":12:2: in 'disk-setup': needs one of"),
    ("answer.toml", PROXMOX.replace('["sda"]', '["sda", "sdb"]'), "ext4 goes on one disk, not 2"),
    ("answer.toml", PROXMOX.replace("ext4", "zfs"), "in 'disk-setup.zfs': needs raid"),
    ("answer.toml", PROXMOX.replace("from-dhcp", "from-answer"), "from-answer needs cidr"),
    ("answer.toml", PROXMOX + '[first-boot]\nsource = "from-url"\n', ":15:2: in 'first-boot'"),
    ("answers", "hello\n", "is of no known kind"),
    ("answers", " \n", "is empty"),
]


@pytest.mark.parametrize(("name", "text", "said"), BAD)
def test_bad_answers_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        load.load(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_missing_file_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load.load(tmp_path / "ks.cfg")
    with pytest.raises(ConfigError, match="no such kind of answers: 'nocloud'"):
        load.load(written(tmp_path, "a", "x"), "nocloud")


def test_pykickstart_knows_commands(tmp_path: Path) -> None:
    pytest.importorskip("pykickstart")
    with pytest.raises(ConfigError, match=r"ks\.cfg:2: Unknown command: foo"):
        load.load(written(tmp_path, "ks.cfg", "lang C\nfoo\n"))
    assert not good(tmp_path, Kind.KICKSTART).remarks


def test_a_kickstart_file_may_be_for_an_older_anaconda(tmp_path: Path) -> None:
    pytest.importorskip("pykickstart")
    assert load.load(written(tmp_path, "ks.cfg", "#version=RHEL7\ninstall\nrootpw x\n"))
    with pytest.raises(ConfigError, match="install has been removed"):
        load.load(written(tmp_path, "ks.cfg", "install\nrootpw x\n"))


def test_it_is_said_when_pykickstart_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pykickstart.errors", None)
    assert "not installed" in good(tmp_path, Kind.KICKSTART).remarks[0]


def test_scripts_become_sections(tmp_path: Path) -> None:
    scripts = Scripts(
        pre=(written(tmp_path, "raid.sh", "lspci\n"),),
        post=(written(tmp_path, "salt.py", "#!/usr/bin/python3\nprint()\n"),),
    )
    made = load.load(written(tmp_path, "ks.cfg", KICKSTART), scripts=scripts).content.decode()
    assert made.startswith(KICKSTART.rstrip("\n"))
    assert "\n%pre --erroronfail --log=/tmp/raid.log\nlspci\n%end\n" in made
    interpreter = "%post --interpreter=/usr/bin/python3 --erroronfail --log=/root/salt.log"
    assert f"\n{interpreter}\nprint()\n%end\n" in made


def test_a_script_that_would_end_its_section_is_refused(tmp_path: Path) -> None:
    scripts = Scripts(pre=(written(tmp_path, "a.sh", "ls\n%end\n"),))
    with pytest.raises(ConfigError, match=r"a\.sh:2: has a line %end"):
        load.load(written(tmp_path, "ks.cfg", KICKSTART), scripts=scripts)
    with pytest.raises(ConfigError, match="scripts can be merged into kickstart files"):
        load.load(written(tmp_path, "preseed.cfg", PRESEED), scripts=scripts)


PLACED = [
    (Kind.PRESEED, Place.INITRD, "", ["preseed.cfg"], "priority=critical"),
    (Kind.PRESEED, Place.MEDIUM, "", ["preseed.cfg"], "preseed/file=/cdrom/preseed.cfg"),
    (Kind.PRESEED, Place.NETWORK, "tftp://h/a", ["preseed.cfg"], "preseed/url=tftp://h/a/preseed.cfg"),
    (Kind.KICKSTART, Place.INITRD, "", ["ks.cfg"], "inst.ks=file:/ks.cfg"),
    (Kind.KICKSTART, Place.MEDIUM, "", ["ks.cfg"], "inst.ks=cdrom:/ks.cfg"),
    (Kind.KICKSTART, Place.MEDIUM, "My OS", ["ks.cfg"], r"inst.ks=hd:LABEL=My\x20OS:/ks.cfg"),
    (Kind.KICKSTART, Place.NETWORK, "http://h/a/", ["ks.cfg"], "inst.ks=http://h/a/ks.cfg"),
    (
        Kind.AUTOINSTALL,
        Place.MEDIUM,
        "",
        ["nocloud/user-data", "nocloud/meta-data"],
        "ds=nocloud;s=/cdrom/nocloud/",
    ),
    (
        Kind.AUTOINSTALL,
        Place.NETWORK,
        "http://h/a",
        ["user-data", "meta-data"],
        "ds=nocloud-net;s=http://h/a/",
    ),
    (Kind.PROXMOX, Place.MEDIUM, "", ["answer.toml"], "proxmox-start-auto-installer"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "where", "base", "files", "argument"), PLACED)
def test_answers_are_placed_and_the_kernel_told(
    tmp_path: Path, kind: Kind, where: Place, base: str, files: list[str], argument: str
) -> None:
    made = place.placement(good(tmp_path, kind), where, base)
    assert [name for name, _ in made.files] == files
    assert made.arguments[-1] == argument


def test_bare_autoinstall_becomes_user_data(tmp_path: Path) -> None:
    content = good(tmp_path, Kind.AUTOINSTALL).content.decode()
    assert content.startswith("#cloud-config\nautoinstall:\n  version: 1\n  identity:")
    again = load.load(written(tmp_path, "user-data", content))
    assert again.content.decode() == content


@pytest.mark.parametrize(
    ("where", "base", "mode"),
    [
        (Place.MEDIUM, "", 'mode = "iso"\n'),
        (Place.PARTITION, "", 'mode = "partition"\npartition_label = "proxmox-ais"\n'),
        (
            Place.NETWORK,
            "https://h/a",
            'mode = "http"\n\n[http]\nurl = "https://h/a/answer.toml"\n',
        ),
    ],
)
def test_the_medium_tells_proxmox_where_to_look(
    tmp_path: Path, where: Place, base: str, mode: str
) -> None:
    made = place.placement(good(tmp_path, Kind.PROXMOX), where, base)
    assert made.medium == (("auto-installer-mode.toml", mode.encode()),)
    assert made.needed == ("auto-installer-capable",)


@pytest.mark.parametrize(
    ("kind", "where", "base", "said"),
    [
        (Kind.AUTOINSTALL, Place.INITRD, "", "autoinstall is not read from the initrd"),
        (Kind.KICKSTART, Place.NETWORK, "tftp://h/a", "kickstart is not read from 'tftp://h/a'"),
        (Kind.PRESEED, Place.NETWORK, "", "preseed is not read from ''"),
    ],
)
def test_a_place_that_is_not_looked_at_is_refused(
    tmp_path: Path, kind: Kind, where: Place, base: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        place.placement(good(tmp_path, kind), where, base)
