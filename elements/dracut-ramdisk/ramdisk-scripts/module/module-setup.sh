#!/bin/bash
# A module of dracut: no root is mounted, the fragments of the elements run instead.

check() { return 0; }
depends() { echo bash; }
install() {
    # shellcheck disable=SC2154 # dracut sets it
    inst_hook cmdline 80 "$moddir/no-root.sh"
    inst_hook pre-mount 50 "$moddir/init.sh"
}
