export DIB_RELEASE=${DIB_RELEASE:-9}
export DIB_INIT_SYSTEM=systemd
export DIB_BLOCK_DEVICE=${DIB_BLOCK_DEVICE:-efi}
case "${DISTRO_NAME:-}" in
    rhel*) export EFI_BOOT_DIR=EFI/redhat ;;
    ?*) export EFI_BOOT_DIR="EFI/$DISTRO_NAME" ;;
    *)
        echo "replace-partition-redhat: DISTRO_NAME is not set (rhel, centos, rocky, ...)" >&2
        return 1
        ;;
esac
