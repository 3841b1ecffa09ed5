"""Menus of boot loaders: what they name, and changes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imagebuilder.iso import arguments, grubcfg, isolinuxcfg, menu
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.menu import Loader, MenuChange
from imagebuilder.process import find
from imagebuilder.remaster.iso_menus import relabelled

UBUNTU = """\
set timeout=30
loadfont unicode
menuentry "Try or Install Ubuntu Server" {
	set gfxpayload=keep
	linux	/casper/vmlinuz  ---
	initrd	/casper/initrd
}
grub_platform
if [ "$grub_platform" = "efi" ]; then
menuentry 'Boot from next volume' {
	exit 1
}
menuentry 'UEFI Firmware Settings' {
	fwsetup
}
fi
"""
DEBIAN = """\
if [ x$feature_default_font_path = xy ] ; then
   font=unicode
fi
menuentry --hotkey=g 'Graphical install' {
    set background_color=black
    linux    /install.amd/vmlinuz vga=788 --- quiet
    initrd   /install.amd/gtk/initrd.gz
}
"""
ISOLINUX = """\
default vesamenu.c32
prompt 0
timeout 0
label install
	menu label ^Install
	kernel /install.amd/vmlinuz
	append vga=788 initrd=/install.amd/initrd.gz --- quiet
label rescue
	menu label ^Rescue mode
	kernel /install.amd/vmlinuz
	append initrd=/install.amd/initrd.gz rescue/enable=true --- quiet
"""


def test_grubs_entries_name_kernel_initrd_and_arguments() -> None:
    first, *others = grubcfg.entries(UBUNTU)
    assert (first.title, first.kernel, first.initrds) == (
        "Try or Install Ubuntu Server", "casper/vmlinuz", ("casper/initrd",),
    )  # fmt: skip
    assert [entry.title for entry in others] == ["Boot from next volume", "UEFI Firmware Settings"]


def test_isolinux_entries_name_kernel_initrd_and_arguments() -> None:
    first, second = isolinuxcfg.entries(ISOLINUX)
    assert (first.title, first.kernel) == ("Install", "install.amd/vmlinuz")
    assert second.initrds == ("install.amd/initrd.gz",)


def test_a_device_in_front_of_a_path_is_left_out() -> None:
    assert menu.plain("($root)/casper/vmlinuz") == menu.plain("/casper/vmlinuz")


def test_a_timeout_replaces_the_old_one() -> None:
    new = grubcfg.changed(UBUNTU, MenuChange(timeout=0))
    assert new == UBUNTU.replace("timeout=30", "timeout=0")


def test_a_timeout_comes_before_the_first_entry_where_there_is_none() -> None:
    new = grubcfg.changed(DEBIAN, MenuChange(timeout=3))
    assert new.index("set timeout=3\n") == new.index("menuentry") - len("set timeout=3\n")


def test_a_menu_without_entries_gets_no_timeout() -> None:
    assert grubcfg.changed("search --file /.disk/info\n", MenuChange(timeout=3)) == (
        "search --file /.disk/info\n"
    )


def test_isolinux_waits_a_tenth_of_a_second_where_nothing_was_asked_for() -> None:
    new = isolinuxcfg.changed(ISOLINUX, MenuChange(timeout=0))
    assert "timeout 1\n" in new
    assert "prompt 0\n" in new


def test_isolinux_counts_in_tenths_of_seconds() -> None:
    assert "timeout 50\n" in isolinuxcfg.changed(ISOLINUX, MenuChange(timeout=5))


def test_isolinux_default_is_a_label() -> None:
    plain = ISOLINUX.replace("vesamenu.c32", "install")
    for wanted in ("Rescue mode", "1"):
        assert isolinuxcfg.changed(plain, MenuChange(default=wanted)).startswith("default rescue\n")


def test_a_program_that_shows_isolinux_menu_goes_on_to_do_that() -> None:
    marked = ISOLINUX.replace("label install\n", "label install\n\tmenu default\n")
    for wanted in ("Rescue mode", "1"):
        new = isolinuxcfg.changed(marked, MenuChange(default=wanted))
        assert new == ISOLINUX.replace("label rescue\n", "label rescue\n\tmenu default\n")


INCLUDING = (
    "# D-I config version 2.0\npath \ninclude menu.cfg\ndefault vesamenu.c32\nprompt 0\ntimeout 0\n"
)
INCLUDED = ISOLINUX[ISOLINUX.index("label install") :]


def test_the_entries_of_isolinux_may_be_in_files_that_it_includes() -> None:
    assert isolinuxcfg.entries(INCLUDING) == []
    change = MenuChange(default="Rescue mode", timeout=0)
    assert isolinuxcfg.changed(INCLUDING, change) == INCLUDING.replace("timeout 0", "timeout 1")
    assert isolinuxcfg.changed(INCLUDED, change) == INCLUDED.replace(
        "label rescue\n", "label rescue\n\tmenu default\n"
    )
    assert isolinuxcfg.changed("prompt 1\ninclude menu.cfg\n", change).startswith("prompt 1\n")


def test_grubs_default_is_quoted_unless_it_is_a_number() -> None:
    assert "set default='A b'\n" in grubcfg.changed(UBUNTU, MenuChange(default="A b"))
    assert "set default=1\n" in grubcfg.changed(UBUNTU, MenuChange(default="1"))


def test_entries_that_are_dropped_go_with_their_braces() -> None:
    new = grubcfg.changed(UBUNTU, MenuChange(drop=("UEFI*", "Boot*")))
    assert [entry.title for entry in grubcfg.entries(new)] == ["Try or Install Ubuntu Server"]
    assert new.endswith('if [ "$grub_platform" = "efi" ]; then\nset nothing=\nfi\n')


PROXMOX = """\
if [ "$pmx" = "" ]; then
submenu 'Advanced Options' {
  menuentry 'Debug' --class debian {
    linux /boot/linux26 ro
  }
}
else  # here
  set x=y
fi
menuentry 'Install Proxmox VE (Graphical)' --class debian {
    linux $root/boot/linux26 ro quiet
}
"""


@pytest.mark.skipif(find("grub-script-check") is None, reason="needs grub-common")
@pytest.mark.parametrize("text", [UBUNTU, DEBIAN, PROXMOX])
@pytest.mark.parametrize(
    "change",
    [
        MenuChange(timeout=0, default="It's", rename=(("Graphical install", "It's"),)),
        MenuChange(keep=("Try*", "Install*", "Graphical*")),
        MenuChange(keep=("Debug", "UEFI*")),
        MenuChange(arguments=ArgumentChange(add=("a b", "ds=nocloud;s=/x/", "x={y}", "it's"))),
        MenuChange(arguments=ArgumentChange(add=('dyndbg="file x +p"', "a\\b", '"a b"'))),
    ],
)
def test_what_becomes_of_a_menu_is_a_script_for_grub(
    text: str, change: MenuChange, tmp_path: Path
) -> None:
    for number, script in enumerate((text, grubcfg.changed(text, change))):
        (tmp_path / str(number)).write_text(script)
        words = ["grub-script-check", str(tmp_path / str(number))]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


def test_entries_that_are_not_kept_go() -> None:
    new = isolinuxcfg.changed(ISOLINUX, MenuChange(keep=("Rescue*",)))
    assert [entry.title for entry in isolinuxcfg.entries(new)] == ["Rescue mode"]
    assert new.startswith("default vesamenu.c32\n")


def test_entries_are_renamed() -> None:
    change = MenuChange(rename=(("Install", "Mine"), ("Try or Install Ubuntu Server", "Mine")))
    assert "menuentry 'Mine' {" in grubcfg.changed(UBUNTU, change)
    assert "menu label Mine\n" in isolinuxcfg.changed(ISOLINUX, change)


@pytest.mark.parametrize(
    ("given", "change", "expected"),
    [
        ("---", ArgumentChange(add=("autoinstall",)), "autoinstall ---"),
        ("vga=788 --- quiet", ArgumentChange(add=("a",)), "vga=788 a --- quiet"),
        ("vga=788 --- quiet", ArgumentChange(add=("a",), persist=True), "vga=788 --- quiet a"),
        ("vga=788", ArgumentChange(add=("a",), persist=True), "vga=788 --- a"),
        ("vga=788 --- quiet", ArgumentChange(remove=("quiet", "vga")), "---"),
        ("quietly quiet=1 x", ArgumentChange(remove=("quiet",)), "quietly x"),
        ("a b", ArgumentChange(add=("a", "c")), "a b c"),
        ("", ArgumentChange(add=("ds=nocloud;s=/x",)), '"ds=nocloud;s=/x"'),
        ('"a b" c', ArgumentChange(remove=("c",)), '"a b"'),
        ("", ArgumentChange(add=('dyndbg="file x +p"',)), r'"dyndbg=\"file x +p\""'),
        (r'"a=\"b c\"" d', ArgumentChange(add=("e",)), r'"a=\"b c\"" d e'),
        ("it's 5", ArgumentChange(add=("e",)), "it's 5 e"),
        ("", ArgumentChange(add=('"a b"', "it's")), '"a b" "it\'s"'),
    ],
)
def test_arguments_are_added_and_removed(given: str, change: ArgumentChange, expected: str) -> None:
    assert arguments.changed(arguments.words(given), change, quote=True) == arguments.words(
        expected
    )


def test_isolinux_quotes_nothing() -> None:
    change = MenuChange(arguments=ArgumentChange(add=("ds=nocloud;s=/x",)))
    new = isolinuxcfg.changed(ISOLINUX, change)
    assert "initrd=/install.amd/initrd.gz ds=nocloud;s=/x --- quiet\n" in new


def test_arguments_change_on_every_kernels_line_and_on_no_other() -> None:
    change = MenuChange(arguments=ArgumentChange(add=("x",)))
    old, new = UBUNTU.splitlines(), grubcfg.changed(UBUNTU, change).splitlines()
    assert [b for a, b in zip(old, new, strict=True) if a != b] == [
        "\tlinux\t/casper/vmlinuz x ---"
    ]


def test_no_change_changes_nothing() -> None:
    assert grubcfg.changed(UBUNTU, MenuChange()) == UBUNTU
    assert isolinuxcfg.changed(ISOLINUX, MenuChange()) == ISOLINUX


@pytest.mark.parametrize(
    ("path", "loader"),
    [
        ("boot/grub/grub.cfg", Loader.GRUB),
        ("EFI/BOOT/grub.cfg", Loader.GRUB),
        ("EFI/BOOT/BOOT.conf", Loader.GRUB),
        ("boot/grub/x86_64-efi/grub.cfg", Loader.GRUB),
        ("isolinux/txt.cfg", Loader.ISOLINUX),
        ("syslinux/syslinux.cfg", Loader.ISOLINUX),
        ("boot/grub/themes/x/theme.cfg", None),
        ("preseed.cfg", None),
        ("pool/main/x.deb", None),
    ],
)
def test_menus_are_known_by_their_paths(path: str, loader: Loader | None) -> None:
    assert menu.loader(path) is loader


def test_a_volume_id_changes_where_it_is_looked_for() -> None:
    text = (
        "search -l 'OLD 1'\nlinux root=live:CDLABEL=OLD\\x201 stage2=hd:LABEL=OLD\\x201:x OLD 1\n"
    )
    assert relabelled(text, "OLD 1", "NEW 2") == (
        "search -l 'NEW 2'\nlinux root=live:CDLABEL=NEW\\x202 stage2=hd:LABEL=NEW\\x202:x OLD 1\n"
    )


SUBMENUS = """\
menuentry --hotkey=g 'Graphical install' {
    linux /install.amd/vmlinuz
}
menuentry --class debian --id=i 'Install' {
    linux /install.amd/vmlinuz
}
submenu --hotkey=a 'Advanced options ...' {
    menuentry '... Expert install' {
        linux /install.amd/vmlinuz priority=low
    }
}
menuentry "Say \\"hi\\"" {
    linux /hi
}
"""


def test_titles_of_grubs_entries_come_after_options_and_may_have_quotes() -> None:
    titles = [entry.title for entry in grubcfg.entries(SUBMENUS)]
    assert titles == ["Graphical install", "Install", "... Expert install", 'Say "hi"']
    assert grubcfg.submenus(SUBMENUS) == ["Advanced options ..."]


@pytest.mark.parametrize(
    "change", [MenuChange(keep=("Install",)), MenuChange(drop=("Adv*", "Graph*", "Say*"))]
)
def test_a_submenu_goes_by_its_title_or_with_its_last_entry(change: MenuChange) -> None:
    begin = SUBMENUS.index("menuentry --class")
    assert grubcfg.changed(SUBMENUS, change) == SUBMENUS[begin : SUBMENUS.index("submenu")]


def test_a_new_title_with_quotes_is_one_word_for_grub() -> None:
    rename = (("Install", 'It\'s "new"'), ("Advanced options ...", "More"))
    new = grubcfg.changed(SUBMENUS, MenuChange(rename=rename, default='It\'s "new"'))
    assert "set default='It'\"'\"'s \"new\"'\n" in new
    assert grubcfg.entries(new)[1].title == 'It\'s "new"'
    assert grubcfg.submenus(new) == ["More"]
    assert "--class debian --id=i 'It'" in new


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("search --set=root -l 'OLD'", "search --set=root -l 'NEW ID'"),
        ("search --label OLD --set=root", "search --label 'NEW ID' --set=root"),
        (
            "linux /k inst.stage2=hd:LABEL=OLD quiet",
            r"linux /k inst.stage2=hd:LABEL=NEW\x20ID quiet",
        ),
        ("append root=live:CDLABEL=OLD", r"append root=live:CDLABEL=NEW\x20ID"),
        ("search --label OLDER", "search --label OLDER"),
    ],
)
def test_a_volume_id_with_a_space_is_written_as_its_place_wants_it(before: str, after: str) -> None:
    assert relabelled(before, "OLD", "NEW ID") == after
