"""`python -m polyfield.apps` is the `polyfield` command."""

from polyfield.apps.command import main

main()
