#!/bin/bash
# Starts the installer, and ends the machine when that has ended.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
echo "Starting Proxmox installation"
/usr/bin/proxinstall || echo "Installation aborted - unable to continue"
echo o >/proc/sysrq-trigger
sleep 60
