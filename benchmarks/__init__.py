"""What this machine could do, what polyfield does on it, and what others do, measured side by side.

`python -m benchmarks` at the top of the repository; `--help` says how. Not part of the installed package.
"""
