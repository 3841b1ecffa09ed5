set +x
set -eu -o pipefail
trap 'status=$?; ((status)) || echo environment.d/10-a calls exit, which ends the build >&2; echo environment.d/10-a failed with status $status >&2; exit $((status ? status : 1))' EXIT
source '/hooks/it'"'"'s here/10-a'
{ set +x; } 2>/dev/null
trap 'status=$?; ((status)) || echo environment.d/11-b.bash calls exit, which ends the build >&2; echo environment.d/11-b.bash failed with status $status >&2; exit $((status ? status : 1))' EXIT
source '/hooks/it'"'"'s here/11-b.bash'
{ set +x; } 2>/dev/null
trap - EXIT
command -p env -0 "/umask=$(umask)" "/directory=$PWD" >&3
