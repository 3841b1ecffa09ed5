export DISTRO_NAME=rhel
export DIB_RELEASE=${DIB_RELEASE:-9}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/redhat
case "$ARCH" in amd64) _machine=x86_64 ;; arm64) _machine=aarch64 ;; *) _machine=$ARCH ;; esac
export YUM=${YUM:-dnf}
export DIB_CLOUD_IMAGES_SUMS=${DIB_CLOUD_IMAGES_SUMS:-${DIB_CLOUD_IMAGES:-}/SHA256SUMS}
unset _machine
