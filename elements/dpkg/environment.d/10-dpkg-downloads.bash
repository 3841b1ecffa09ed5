# apt, on the host and in the tree, takes from the download cache what it can: see dpkg/http.
_hooks=$(dirname "$(dirname "${BASH_SOURCE[0]}")")
if [ "${DIB_APT_LOCAL_CACHE:-1}" != 0 ] && [ -d "$_hooks/imagebuilder/downloads" ]; then
    _given=${APT_CONFIG:-}
    # In the tree, /run is the sandbox's own; on the host, the build has a directory.
    APT_CONFIG=/run/imagebuilder-apt.conf
    [ ! -d "${TMP_BUILD_DIR:-}" ] || APT_CONFIG=$TMP_BUILD_DIR/apt.conf
    export APT_CONFIG
    {
        [ ! -r "$_given" ] || cat "$_given"
        for _transport in http https; do
            echo "Dir::Bin::Methods::$_transport \"$_hooks/dpkg/$_transport\";"
        done
        # How long an index may be used is no question where there is no other.
        [ -z "${DIB_OFFLINE:-}" ] || echo 'Acquire::Check-Valid-Until "false";'
    } > "$APT_CONFIG"
    unset _given _transport
fi
unset _hooks
