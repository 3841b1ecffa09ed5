export DISTRO_NAME=tiny
export DIB_RELEASE=one
export DIB_INIT_SYSTEM=systemd
