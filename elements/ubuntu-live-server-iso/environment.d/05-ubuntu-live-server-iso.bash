export DISTRO_NAME=${DISTRO_NAME:-ubuntu}
export DIB_ISO_ROOT=${DIB_ISO_ROOT:-casper/ubuntu-server-minimal.squashfs}
