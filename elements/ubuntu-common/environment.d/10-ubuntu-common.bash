export DISTRO_NAME=${DISTRO_NAME:-ubuntu}
export EFI_BOOT_DIR=EFI/ubuntu
export DIB_INIT_SYSTEM=systemd
export DIB_RELEASE=${DIB_RELEASE:-resolute}
export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main,universe}
case "${ARCH:-}" in
    amd64 | i386) _archive=http://archive.ubuntu.com/ubuntu ;;
    *) _archive=http://ports.ubuntu.com/ubuntu-ports ;;
esac
export DIB_DISTRIBUTION_MIRROR=${DIB_DISTRIBUTION_MIRROR:-$_archive}
unset _archive
