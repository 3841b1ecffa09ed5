export DISTRO_NAME=debian
export EFI_BOOT_DIR=EFI/debian
export DIB_RELEASE=${DIB_RELEASE:-stable}
export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main}
export DIB_DEBIAN_COMPONENTS_WS=${DIB_DEBIAN_COMPONENTS//,/ }
export DIB_DISTRIBUTION_MIRROR=${DIB_DEBIAN_DISTRIBUTION_MIRROR:-${DIB_DISTRIBUTION_MIRROR:-}}
# Once there is a system, hooks that ask for the mirror get the one that was found for it.
_root=${TMP_MOUNT_PATH:-/none}
[ ! -d /tmp/in_target.d ] || _root=
if [ -z "$DIB_DISTRIBUTION_MIRROR" ] && [ -e "$_root/etc/os-release" ]; then
    _root=$_root/etc/apt/sources.list.d
    DIB_DISTRIBUTION_MIRROR=$(sed -n -E '/^(URIs:|deb( \[[^]]*\])?) *([^ ]+).*/{s//\3/p;q}' \
        "$_root/debian.sources" "$_root"/*.list 2> /dev/null || true)
fi
unset _root
export DIB_APT_KEYRING=${DIB_DEBIAN_KEYRING:-${DIB_APT_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}}
export IMAGEBUILDER_KEYRING_PACKAGE=debian-archive-keyring
