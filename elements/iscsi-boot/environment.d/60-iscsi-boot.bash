# Where dracut makes the initramfs, the firmware's table says how to reach the disk.
case ${DISTRO_NAME:-} in
    debian | ubuntu) ;;
    *)
        case ${DIB_BOOTLOADER_DEFAULT_CMDLINE:-} in
            *rd.iscsi.firmware=1*) ;;
            *) export DIB_BOOTLOADER_DEFAULT_CMDLINE="${DIB_BOOTLOADER_DEFAULT_CMDLINE-nofb nomodeset gfxpayload=text} rd.iscsi.firmware=1" ;;
        esac
        case ${DIB_DRACUT_ENABLED_MODULES:-} in
            *'name: iscsi'*) ;;
            *) export DIB_DRACUT_ENABLED_MODULES="${DIB_DRACUT_ENABLED_MODULES:-}
- name: network
- name: iscsi" ;;
        esac ;;
esac
