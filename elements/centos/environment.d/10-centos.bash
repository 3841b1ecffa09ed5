export DISTRO_NAME=centos
export DIB_RELEASE=${DIB_RELEASE:-9-stream}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/centos
case "$ARCH" in amd64) _machine=x86_64 ;; arm64) _machine=aarch64 ;; *) _machine=$ARCH ;; esac
_release=${DIB_RELEASE%-stream} # 9 is 9-stream
export YUM=${YUM:-dnf}
export DIB_CLOUD_IMAGES=${DIB_CLOUD_IMAGES:-https://cloud.centos.org/centos/$_release-stream/$_machine/images}
export BASE_IMAGE_FILE=${BASE_IMAGE_FILE:-CentOS-Stream-${DIB_FLAVOR:-GenericCloud}-$_release-latest.$_machine.qcow2}
export DIB_CLOUD_IMAGES_SUMS=${DIB_CLOUD_IMAGES_SUMS:-$DIB_CLOUD_IMAGES/$BASE_IMAGE_FILE.SHA256SUM}
unset _machine _release
