"""ISO 9660 images as installers come in them: looked into without mounting, changed by xorriso.

Reading is plain Python, after ECMA-119 (ISO 9660), SUSP 1.12 and RRIP 1.12 (Rock Ridge), the
Joliet specification, El Torito 1.0, and UEFI 2.10 chapter 5 (GPT).
"""
