export DISTRO_NAME=${DISTRO_NAME:-debian}
