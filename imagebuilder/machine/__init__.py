"""Starts an image in qemu and follows its serial console: does what was built boot?"""
