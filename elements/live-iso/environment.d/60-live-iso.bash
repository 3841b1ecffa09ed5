case ${DISTRO_NAME:-} in
    ubuntu) export DIB_LIVE_DIRECTORY=casper ;;
    *) export DIB_LIVE_DIRECTORY=live ;;
esac
export DIB_ISO_INITRD=${DIB_ISO_INITRD:-$DIB_LIVE_DIRECTORY/initrd.img}
export DIB_ISO_VOLUME_ID=${DIB_ISO_VOLUME_ID:-LIVE}
export DIB_ISO_TIMEOUT=${DIB_ISO_TIMEOUT:-5}
