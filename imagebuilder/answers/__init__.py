"""Answers for installers that ask nobody: checked, placed, and the kernel told where they are.

The kinds are preseed (debian-installer), kickstart (Anaconda), autoinstall (subiquity) and
`answer.toml` (Proxmox).
"""
