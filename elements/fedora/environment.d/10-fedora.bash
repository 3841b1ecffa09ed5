export DISTRO_NAME=fedora
export DIB_RELEASE=${DIB_RELEASE:-43}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/fedora
case "$ARCH" in amd64) _machine=x86_64 ;; arm64) _machine=aarch64 ;; *) _machine=$ARCH ;; esac
export YUM=${YUM:-dnf}
export DIB_CLOUD_IMAGES=${DIB_CLOUD_IMAGES:-https://download.fedoraproject.org/pub/fedora/linux/releases/$DIB_RELEASE/Cloud/$_machine/images}
export BASE_IMAGE_FILE=${BASE_IMAGE_FILE:-Fedora-Cloud-Base-Generic-$DIB_RELEASE-1.6.$_machine.qcow2}
export DIB_CLOUD_IMAGES_SUMS=${DIB_CLOUD_IMAGES_SUMS:-$DIB_CLOUD_IMAGES/Fedora-Cloud-$DIB_RELEASE-1.6-$_machine-CHECKSUM}
unset _machine
