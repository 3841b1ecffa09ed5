"""The sentences of generated pages that no code says, in one place."""

from __future__ import annotations

OPTIONS = """\
`disk-image-create` and `imagebuilder build` take these options, in any order and mixed with the
names of elements; `--` ends them. A long option may be shortened as long as it stays the only one;
those that diskimage-builder does not have leave its own abbreviations alone. Where a variable is
named, it does the same as the option, which wins over it; that of an option without an argument is
off when it is empty, `0`, `false`, `no` or `off`, and on else. Where a key is named, [files of
images](images.md) have it.

With `-c` hooks get those of the caller's variables that this page names, those beginning with
`DIB_` or `IMAGEBUILDER_`, and `PATH`, `HOME`, `USER`, `LOGNAME`, `TERM` and proxies."""

BEYOND_OPTIONS = """\
A build also reads these variables. Besides them every element has [variables of its
own](elements.md#variables-of-elements), and hooks get
[more](environment-of-hooks.md)."""

VARIABLES = (
    ("ELEMENTS_PATH", "directories of elements, with colons between them, searched in that order "
     "before the elements that come with the program"),
    ("IMAGE_ELEMENT", "elements to use besides those of the command line, with spaces between"),
    ("FS_TYPE", "type of the root filesystem (default: ext4)"),
    ("DIB_BLOCK_DEVICE_CONFIG", "the [block-device document](block-device.md): its text, or "
     "`file://` and a path"),
    ("DIB_BLOCK_SIZE", "bytes in a sector of every disk, 512 or 4096; wins over `block_size`"),
    ("DIB_INSTALLTYPE_<name>", "how one element installs its software, instead of "
     "`--install-type`; the `-` of its name are `_`"),
    ("OVERWRITE_OLD_IMAGE", "not `0`: an older output is replaced, else it goes on under a name "
     "with the time in it"),
    ("SOURCE_DATE_EPOCH", "seconds since 1970: nothing in an image is younger (default: {epoch})"),
    ("IMAGEBUILDER_CACHE_MAX_SIZE", "how much of trees and downloads the cache keeps (default: "
     "20GiB)"),
    ("IMAGEBUILDER_CACHE_MAX_AGE", "days without use that the cache keeps anything (default: 30)"),
    ("IMAGEBUILDER_MEMORY", "how much memory the build may count on, like 4GiB (default: what is "
     "available)"),
    ("IMAGEBUILDER_EXACT_SIZE", "not `0`: `--image-size` is the whole disk's with "
     "`block-device-efi`, too, which else adds 525 MiB"),
    ("IMAGEBUILDER_SHARED_PACKAGES", "packages, with spaces between: no others [join the "
     "bootstrap](../design/early-packages.md), so that images can [share a root "
     "tree](../howto/build-several-images.md)"),
    ("TMPDIR, TMP_DIR", "where the scratch directory is made, the first of them that is set "
     "(default: `/tmp`)"),
    ("DIB_GZIP_BIN", "the program that compresses `tgz`, like `pigz -p 2` (default: none, but the "
     "builder)"),
    ("ACI_MANIFEST", "the file that goes into `aci` images as their manifest"),
    ("DIB_SHOW_IMAGE_USAGE", "not `0`: list the files and directories of 10 MiB or more before the "
     "outputs are made"),
    ("DIB_SHOW_IMAGE_USAGE_FULL", "not `0`: list all of them"),
    ("DIB_QUIET", "not `0`: nothing on standard output (default: `1` with `--logfile`, else `0`)"),
    ("DIB_NO_TIMESTAMP", "not `0`: no times on standard output; a log file always has them"),
    ("DIB_LOCKFILES", "handed on to hooks that lock things (default: `lockfiles` in the image "
     "cache)"),
    ("break", "points at which the build stops for a shell, with commas between: `before-` or "
     "`after-` and a phase, and `after-error`. The shell has the terminal and the environment of "
     "the phase's hooks; a status other than 0 ends the build, which then takes nothing from the "
     "cache"),
    ("break_cmd", "what to run instead of the shell before phases of the host and after an error"),
    ("break_outside_target", "not empty: after the error of a hook inside, run it on the host"),
    ("GENTOO_PROFILE", "with `hardened` in it: build on disk"),
    ("DIB_PYTHON_LOGGING_CONFIG_FILE", "the logging of Python programs that hooks run and that "
     "call `diskimage_builder.logging_config.setup`: JSON for `logging.config.dictConfig`; the "
     "build's own log is not Python's"),
    ("http_proxy, https_proxy, no_proxy", "handed on to hooks, like every other variable that is "
     "set"),
)  # fmt: skip

TOOLS = """\
A build looks for what it needs before it does anything. `imagebuilder doctor` shows what a host
has and lacks, and `imagebuilder doctor --install` installs what is missing on Debian and its
relatives. Boot loaders, kernels and `grub-mkimage` are not here: they come out of the image
itself."""

FORMATS = """\
`-t` takes any of the formats, several with commas between them; all of them are made from one
tree. A type that is not in the table is handed to qemu-img, and the output is `NAME.TYPE`. Formats,
filesystems and boot loaders are plugins: a Python package can add its own with the entry points
`imagebuilder.formats`, `imagebuilder.filesystems` and `imagebuilder.boot`.

Every output appears under its name whole or not at all, and an older one goes on under a name with
the time in it. `--checksum` writes `.md5` and `.sha256` files beside each of them
(diskimage-builder writes none for `tar`, `aci`, `squashfs` and `docker`).

Which format for which cloud:

| | `-t` |
| --- | --- |
| OpenStack | `qcow2`, or `raw` where images lie in Ceph |
| Amazon EC2 | `raw` (for EBS direct and the import of snapshots), `vmdk-stream`, `ova` |
| Microsoft Azure | `azure` |
| Google Compute Engine | `gce` |
| vSphere | `ova`, `vmdk-stream` |
| Xen | `vhd` |
| Hyper-V | `vhdx` |
| VirtualBox | `ova`, `vdi` |
| containers | `oci`, `docker` |"""

QEMU_IMG_OPTIONS = """\
`--qemu-img-options` is for formats that qemu-img writes, and `qcow2`. Each gets those of the
options that it takes, so that `compat=0.10` does no harm to `-t qcow2,vmdk`; the name of an output
type and a colon before an option (`vmdk:subformat=streamOptimized`) keep it from all others. An
option that none of the outputs takes, and options that do not go together, are errors before the
build begins. `-u` is for `qcow2` and `oci`."""

BLOCK_DEVICE = """\
A disk is a YAML list of plugins, each a mapping with one key. A plugin that is written inside
another lies on it; else `base` says what it lies on. Without a `name` it is called
`<plugin>_<base>`, and only the filesystem called `mkfs_root` (the one on a partition called
`root`) takes what the options and `FS_TYPE` say. How to use it:
[choose a disk layout](../howto/choose-a-disk-layout.md).

Sizes are written like `512MiB` or `1.5 GB`: KiB, MiB, GiB and TiB count in 1024s, KB, MB, GB and
TB (also K, M, G, T) in 1000s, and a number alone is bytes."""

LVM = """\
Physical volumes, volume groups and logical volumes. Filesystems lie on logical volumes by their
`base`, or are written inside them. Options that say nothing about what is made (`--force`,
`--yes`, `--zero`, `--wipesignatures`, `--quiet`) are accepted; any that is not named here is an
error. All physical volumes of a group lie on one `local_loop`."""

ELEMENT_YAML = """\
What an element says about itself. The file is optional, and so is everything in it; a key that
is not here is an error. The values of declared variables are checked before a build begins, and
shown by `imagebuilder elements NAME`."""

OF_FILES = """\
With [files of images](images.md) instead of names it builds all images that they describe. Options
are for all of them then, and those of an image win. It also takes:"""

IMAGES = """\
What `diskimage-builder FILE...` and `imagebuilder build FILE...` read: YAML, or JSON. A file is a
list of mappings, each of which describes an image, or goes on describing one: entries with the same
`imagename` are one image, in one file or in several, and an entry without it is about the image of
the entry before (at first, the image called `image`). Where entries meet, lists grow, mappings take
what is new, and any other value is replaced. A key that is not here is an error.

Each image is what `disk-image-create` makes with the options of its keys, in the order of the
table, and `environment` added to the caller's. How to use it:
[build several images](../howto/build-several-images.md)."""

HOSTS = """\
What `imagebuilder netboot publish HOSTS.yaml` reads: YAML, or JSON. Paths in it are relative to its
directory. A key that is not here is an error. How to use it:
[serve installers by network](../howto/serve-installers-by-network.md)."""

PACKAGE_INSTALLS = """\
The packages that an element wants: a mapping of package names, each to nothing, to the
properties below, or to a list of such mappings, of which each is looked at on its own.
`package-installs.json` is read as well. A package that one element wants removed (`uninstall`,
`build-only`) stays if another one wants it installed in the same phase. The element has to
depend on `package-installs`, directly or not; every operating system does."""

PKG_MAP = """\
A JSON file that says what distributions call the packages, looked up with the element's name for
them: in `release`, then `distro`, `family` and `default`. A name that is in none of them is used
as it is."""

ELEMENTS = """\
The elements that come with the program, by what they are for. The same, for those on your
`ELEMENTS_PATH` too, shows `imagebuilder elements`, and with `--for ubuntu` only those that are
meant for Ubuntu. What was built with them: [distributions](distributions.md). How to write one:
[write an element](../howto/write-an-element.md)."""

TASKS = {
    "operating-system": "An operating system to start from",
    "disk": "The disk, and how it starts",
    "boot": "Kernel and initramfs",
    "cloud": "Machines in a cloud",
    "baremetal": "Machines without a hypervisor",
    "network": "The network",
    "access": "Who can log in",
    "packages": "Packages and where they come from",
    "python": "Python",
    "hardware": "Drivers and hardware",
    "security": "Security",
    "ramdisk": "Ramdisks",
    "size": "A smaller image",
    "debug": "Looking for faults",
    "core": "What other elements build on",
}

KINDS = {
    "string": "text",
    "integer": "number",
    "boolean": "`true`, `false`",
    "array": "list",
    "object": "mapping",
    "anything": "anything",
}

TYPES = {
    "string": "anything",
    "boolean": "`0`, `1`, `true`, `false`, `yes`, `no`; YAML's own become `1` and `0`",
    "integer": "a whole number",
    "size": "like `512MiB`",
    "path": "a path, in one line",
    "url": "with a scheme, like `https://host/path`",
    "list": "anything; what separates the items is up to the element",
    "choice": "one of `choices`",
}

FILLED_IN = {"base"}  # by the loader, for what is nested
NAME = "what others call it as their `base`"
BASE = "what it lies on, where it is not written inside that"
KEYS = {
    ("local_loop", "name"): "name of the disk; `image0`, or the only one, becomes the outputs",
    ("local_loop", "size"): "its size, wins over `--image-size` (default: what the content needs)",
    ("local_loop", "directory"): "accepted and not used: the file is in the scratch directory",
    ("local_loop", "block_size"): "bytes in a sector (default: 512)",
    ("partitioning", "name"): NAME,
    ("partitioning", "base"): BASE,
    ("partitioning", "label"): "the kind of table",
    ("partitioning", "align"): "what partitions begin at a multiple of (default: 1MiB)",
    ("partitioning", "partitions"): "the partitions, in the order they lie on the disk",
    ("partition", "name"): NAME + "; on GPT it is the partition's name too",
    ("partition", "base"): BASE,
    ("partition", "size"): "a size, or a percentage of what is left at that point",
    ("partition", "type"): "MBR: a hexadecimal byte (default: 83); GPT: an sgdisk code or a GUID "
    "(default: 8300)",
    ("partition", "flags"): "MBR: `boot` marks it active, `primary` keeps it out of the extended "
    "partition",
    ("partition", "number"): "its entry in the table, where that is not its place in the list",
    ("lvm", "name"): "a name of its own; nothing lies on it",
    ("lvm", "base"): "accepted and not used: what its volumes lie on, `pvs` say",
    ("lvm", "pvs"): "the physical volumes",
    ("lvm", "vgs"): "the volume groups",
    ("lvm", "lvs"): "the logical volumes; extents are handed out in this order",
    ("pv", "name"): NAME,
    ("pv", "base"): "required: the partition or `local_loop` that it is",
    ("pv", "options"): "words for `pvcreate`: `--dataalignment SIZE` has an effect",
    ("vg", "name"): "its name in the machine, and what volumes call it as their `base`",
    ("vg", "base"): "required: a physical volume, or a list of them",
    ("vg", "options"): "words for `vgcreate`: `--physicalextentsize SIZE` (default: 4MiB) and "
    "`--addtag TAG` have an effect",
    ("lv", "name"): "its name in the machine, and what filesystems call it as their `base`",
    ("lv", "base"): "required: its volume group",
    ("lv", "size"): "its size, rounded down to 4MiB; wins over `extents`",
    ("lv", "extents"): "a number of extents, or a share like `40%VG`, `100%FREE`, `50%PVS`",
    ("lv", "type"): "a thin pool, or a thin volume in one; without it, a plain volume",
    ("lv", "thin-pool"): "the pool that a thin volume lies in",
    ("lv", "options"): "words for `lvcreate`: `--addtag TAG` and, for a pool, `--chunksize SIZE` "
    "have an effect",
    ("mkfs", "name"): NAME,
    ("mkfs", "base"): BASE,
    ("mkfs", "type"): "the type of filesystem (default of `mkfs_root`: `FS_TYPE`)",
    ("mkfs", "label"): "its label (default: its name; of `mkfs_root`: `--root-label`)",
    ("mkfs", "opts"): "more options for the program that makes it",
    ("mkfs", "uuid"): "its UUID, for vfat also like `1234-ABCD` (default: made from the names)",
    ("mount", "name"): NAME,
    ("mount", "base"): BASE,
    ("mount", "mount_point"): "where it is mounted; `none` for swap",
    ("fstab", "name"): NAME,
    ("fstab", "base"): BASE,
    ("fstab", "options"): "mount options, with commas between them (default: `defaults`)",
    ("fstab", "dump-freq"): "fifth field of the line (default: 0)",
    ("fstab", "fsck-passno"): "sixth field of the line (default: 2)",
    ("variable", "default"): "its value where none is given",
    ("package", "when"): "conditions like `VARIABLE = value` or `VARIABLE != value`, all of which "
    "have to hold; a variable that is not set is an error",
    ("pkg-map", "default"): "for every distribution",
    ("pkg-map", "family"): "by family of distributions",
    ("pkg-map", "distro"): "by distribution (`DISTRO_NAME`)",
    ("pkg-map", "release"): "by distribution, then by release (`DIB_RELEASE`)",
}

LINT = """\
`imagebuilder lint` looks for mistakes in elements without building anything: in those of
`ELEMENTS_PATH`, or in the elements and directories that are named. Whether hooks have the same name
is asked for all elements that are found, as far as a build can have both. Each finding says where
it is, what is wrong and what to do; `--json` prints a list of mappings with the keys `rule`,
`severity`, `where`, `what` and `hint`.

The exit status is 1 if there are errors (with `--strict`, warnings count as well), 2 if what was
named is not there, and else 0. A comment in a file leaves rules out for that file:

    # imagebuilder-lint: disable=variable, shellcheck"""

DIB_LINT = """\
The program has the rules of diskimage-builder's own `dib-lint` and is started like it, at the top
of a repository: `ELEMENTS_DIR` (default: `diskimage_builder/elements`) and `LIB_DIR` say where,
`# dib-lint: disable=sete setu` in a file or `ignore = sete setu` under `[dib-lint]` in `tox.ini`
leave rules out, and `# dib-lint: safe_sudo` or `# dib-lint: which` at the end of a line allow that
line. The exit status is 0 or 1. Python scripts without `.py` are given to flake8, which has to be
installed then. Two things are different: `set -euo pipefail` counts as `set -o pipefail`, and a
directory of elements that is not there is an error."""
