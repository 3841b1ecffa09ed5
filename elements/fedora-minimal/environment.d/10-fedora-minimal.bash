export DISTRO_NAME=fedora
export DIB_RELEASE=${DIB_RELEASE:-43}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/fedora
export YUM=${YUM:-dnf}
export YUM_MINIMAL_RELEASE_PACKAGES="fedora-release-cloud fedora-release-common fedora-repos fedora-gpg-keys"
export YUM_MINIMAL_RPM_DATABASE=/usr/lib/sysimage/rpm
