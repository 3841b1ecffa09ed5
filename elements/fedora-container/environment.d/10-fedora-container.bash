export DISTRO_NAME=fedora
export DIB_RELEASE=${DIB_RELEASE:-43}
export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-registry.fedoraproject.org/fedora:$DIB_RELEASE}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/fedora
export YUM=${YUM:-dnf}
