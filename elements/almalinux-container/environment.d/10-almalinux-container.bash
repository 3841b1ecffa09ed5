export DISTRO_NAME=almalinux
export DIB_RELEASE=${DIB_RELEASE:-10}
export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-docker.io/library/almalinux:$DIB_RELEASE}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/almalinux
export YUM=${YUM:-dnf}
export DIB_CONTAINER_GROUP="${DIB_CONTAINER_GROUP:-Minimal Install}"
