export DISTRO_NAME=${DISTRO_NAME:-debian}
export DIB_ISO_ROOT=${DIB_ISO_ROOT:-pve-base.squashfs}
