# What the image does not say of itself (os-release), and the caller neither.
export DISTRO_NAME=${DISTRO_NAME:-debian}
export DIB_RELEASE=${DIB_RELEASE:-}
export DIB_INIT_SYSTEM=${DIB_INIT_SYSTEM:-systemd}
