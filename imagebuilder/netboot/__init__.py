"""Sets of files that machines start from by network: PXE, iPXE and GRUB, TFTP and HTTP.

`load` reads what is wanted (`hosts.yaml`), `source` finds kernels and initrds, `plan` renders every
file, `publish` puts them where a server reads them, in one step.
"""
