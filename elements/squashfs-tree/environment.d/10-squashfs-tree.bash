export DISTRO_NAME=${DISTRO_NAME:-debian}
export DIB_INIT_SYSTEM=systemd
