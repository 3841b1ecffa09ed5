export DIB_INIT_SYSTEM=systemd
# Kernel packages leave the initramfs to post-install.d/90-debootstrap-initramfs, which makes it once.
export INITRD=No
