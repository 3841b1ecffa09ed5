#!/bin/bash
# Configures the interfaces in the iBFT, if the firmware has left one.

set -euo pipefail

if ! iscsistart -f; then
    echo "ibft-interfaces: the firmware has set up none"
    exit 0
fi
iscsistart -N
udevadm settle
