export DISTRO_NAME=opensuse
DIB_RELEASE=${DIB_RELEASE:-15.6}
export DIB_RELEASE=${DIB_RELEASE,,}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/opensuse
_mirror=${DIB_DISTRIBUTION_MIRROR:-https://download.opensuse.org}
_mirror=${_mirror%/}
case "$DIB_RELEASE" in
    tumbleweed) _repositories="oss=>$_mirror/tumbleweed/repo/oss/ update=>$_mirror/update/tumbleweed/" ;;
    *) _repositories="oss=>$_mirror/distribution/leap/$DIB_RELEASE/repo/oss/ update=>$_mirror/update/leap/$DIB_RELEASE/oss/" ;;
esac
export DIB_ZYPPER_REPOS=${DIB_ZYPPER_REPOS:-$_repositories}
export DIB_OPENSUSE_PATTERNS=${DIB_OPENSUSE_PATTERNS:-patterns-base-minimal_base}
unset _mirror _repositories
