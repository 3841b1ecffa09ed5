export DISTRO_NAME=rocky
export DIB_RELEASE=${DIB_RELEASE:-9}
export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-docker.io/rockylinux/rockylinux:$DIB_RELEASE}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/rocky
export YUM=${YUM:-dnf}
export DIB_CONTAINER_GROUP="${DIB_CONTAINER_GROUP:-Minimal Install}"
