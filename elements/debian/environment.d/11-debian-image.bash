# Without any of these, Debian is bootstrapped.
if [ -n "${DIB_CLOUD_IMAGES:-}${BASE_IMAGE_FILE:-}" ]; then
    case "$DIB_RELEASE" in
        bullseye) _number=11 ;;
        bookworm) _number=12 ;;
        trixie) _number=13 ;;
        forky) _number=14 ;;
        *) _number=$DIB_RELEASE ;;
    esac
    export DIB_CLOUD_IMAGES=${DIB_CLOUD_IMAGES:-https://cloud.debian.org/images/cloud/$DIB_RELEASE/latest}
    export BASE_IMAGE_FILE=${BASE_IMAGE_FILE:-debian-$_number-genericcloud-$ARCH.qcow2}
    export SHA512SUMS=${SHA512SUMS:-$DIB_CLOUD_IMAGES/SHA512SUMS}
    unset _number
fi
