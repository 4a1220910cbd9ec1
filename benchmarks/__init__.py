"""Benchmarks: the limits of this machine, and the speed of polyfield and of other libraries, measured in the same rounds.

Run `python -m benchmarks` at the top of the repository; `--help` lists the options. This package is not installed.
"""
