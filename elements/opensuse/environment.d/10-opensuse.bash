export DISTRO_NAME=opensuse
export DIB_RELEASE=${DIB_RELEASE:-15.6}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/opensuse
case "$ARCH" in amd64) _machine=x86_64 ;; arm64) _machine=aarch64 ;; *) _machine=$ARCH ;; esac
export DIB_CLOUD_IMAGES=${DIB_CLOUD_IMAGES:-https://download.opensuse.org/distribution/leap/$DIB_RELEASE/appliances}
export BASE_IMAGE_FILE=${BASE_IMAGE_FILE:-openSUSE-Leap-$DIB_RELEASE-Minimal-VM.$_machine-Cloud.qcow2}
export DIB_CLOUD_IMAGES_SUMS=${DIB_CLOUD_IMAGES_SUMS:-$DIB_CLOUD_IMAGES/$BASE_IMAGE_FILE.sha256}
unset _machine
