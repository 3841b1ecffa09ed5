"""Elements of diskimage-builder that are not here, and what does their work now."""

from __future__ import annotations

DEPLOY = "ironic-python-agent-ramdisk of ironic-python-agent-builder makes deploy ramdisks now"
HARDWARE = "it installed tools of one vendor for hardware of its time"
IRONIC = "the extra-hardware and burn-in elements of ironic-python-agent-builder do this now"

GONE = {
    "debian-upstart": "no release of Debian has upstart: use 'debian-minimal'",
    "deploy": DEPLOY,
    "deploy-baremetal": DEPLOY,
    "deploy-ironic": DEPLOY,
    "deploy-kexec": DEPLOY,
    "deploy-targetcli": DEPLOY,
    "deploy-tgtadm": DEPLOY,
    "gentoo": "Gentoo is not supported",
    "hpdsa": HARDWARE,
    "hwburnin": IRONIC,
    "hwdiscovery": IRONIC,
    "ilo": HARDWARE,
    "ironic-agent": DEPLOY,
    "keylime-agent": "its agent in Python has no successor in Python: Fedora and CentOS have one in"
    " Rust, '-p keylime-agent-rust'; Debian has none",
    "map-services": "use 'svc-map'",
    "mellanox": HARDWARE,
    "oat-client": "its programs are not published any more",
    "proliant-tools": HARDWARE,
    "python-brickclient": "its programs are not published any more",
    "python-stow-versions": "use the Pythons of the distribution",
    "rax-nova-agent": "use 'cloud-init'",
    "serial-console": "use 'enable-serial-console'",
    "ubuntu-core": "use 'ubuntu-minimal'",
    "ubuntu-systemd-container": "use 'ubuntu-minimal' and '-t tar'",
    "uboot": "it wrapped kernels for boards that start them from fixed addresses",
    "zipl": "machines of s390x are not supported",
}
