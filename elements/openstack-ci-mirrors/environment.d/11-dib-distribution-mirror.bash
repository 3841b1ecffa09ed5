# Takes the mirrors that a node of OpenStack's CI names; anywhere else this does nothing.
_hooks=$(dirname "$(dirname "${BASH_SOURCE[0]}")")
_mirrors=/etc/ci/mirror_info.sh
[ -f "$_mirrors" ] || _mirrors=$_hooks/mirror_info.sh
if [ -f "$_mirrors" ]; then
    # shellcheck disable=SC1090 # of the node
    source "$_mirrors"
    case ${DISTRO_NAME:-} in
        debian) _mirror=${NODEPOOL_DEBIAN_MIRROR:-} ;;
        ubuntu) _mirror=${NODEPOOL_UBUNTU_MIRROR:-}
            [ "${ARCH:-}" != arm64 ] || _mirror=${NODEPOOL_UBUNTU_PORTS_MIRROR:-} ;;
        fedora) _mirror=${NODEPOOL_FEDORA_MIRROR:-} ;;
        centos*) _mirror=${NODEPOOL_CENTOS_MIRROR:-}
            export DIB_EPEL_MIRROR=${NODEPOOL_EPEL_MIRROR:-} ;;
        opensuse) _mirror=${NODEPOOL_OPENSUSE_MIRROR:-} ;;
        *) _mirror= ;;
    esac
    [ -z "$_mirror" ] || export DIB_DISTRIBUTION_MIRROR=$_mirror
    # These mirrors are made anew by reprepro, and not signed.
    export DIB_MMDEBSTRAP_EXTRA_ARGS="${DIB_MMDEBSTRAP_EXTRA_ARGS:-} --aptopt=$_hooks/openstack-ci-mirrors/unsigned.conf"
    export DIB_DISTRIBUTION_MIRROR_UBUNTU_IGNORE="(universe|multiverse)"
    export DIB_DISTRIBUTION_MIRROR_UBUNTU_INSECURE=1
    for _repos in "${DIB_RELEASE:-}" default .; do
        _repos=${DIB_OS_CI_YUM_REPOS:-/nowhere}/${DISTRO_NAME:-}-minimal/$_repos/yum.repos.d
        if [ -d "$_repos" ]; then
            export DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=$_repos
            break
        fi
    done
fi
unset _hooks _mirrors _mirror _repos
