export DISTRO_NAME=centos
export DIB_RELEASE=${DIB_RELEASE:-9-stream}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/centos
export YUM=${YUM:-dnf}
export YUM_MINIMAL_RELEASE_PACKAGES="centos-stream-release centos-stream-repos centos-gpg-keys"
case "$DIB_RELEASE" in
    9-stream) export YUM_MINIMAL_RPM_DATABASE=/var/lib/rpm ;;
    *) export YUM_MINIMAL_RPM_DATABASE=/usr/lib/sysimage/rpm ;;
esac
