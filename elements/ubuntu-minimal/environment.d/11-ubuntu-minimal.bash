export DIB_UBUNTU_KERNEL=${DIB_UBUNTU_KERNEL:-linux-image-generic}
export DIB_UBUNTU_MIRROR_DISTS=${DIB_UBUNTU_MIRROR_DISTS:-updates,security,backports}
export DIB_APT_KEYRING=${DIB_DEBIAN_KEYRING:-${DIB_APT_KEYRING:-/usr/share/keyrings/ubuntu-archive-keyring.gpg}}
export IMAGEBUILDER_KEYRING_PACKAGE=ubuntu-keyring
