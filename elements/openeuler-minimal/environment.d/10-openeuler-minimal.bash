export DISTRO_NAME=openeuler
export DIB_RELEASE=${DIB_RELEASE:-22.03-LTS}
export DIB_DISTRIBUTION_MIRROR=${DIB_DISTRIBUTION_MIRROR:-https://repo.openeuler.org}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/openEuler
export YUM=${YUM:-dnf}
export YUM_MINIMAL_RELEASE_PACKAGES="openEuler-release openEuler-repos openEuler-gpg-keys"
export YUM_MINIMAL_RPM_DATABASE=/var/lib/rpm
