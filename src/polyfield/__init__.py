"""polyfield: fit neural fields, convert them, process them, look at them.

The floors, from the bottom: `files`, `kernels`, `cameras`, `fields`, `data`, `render`, `demo`, `fit`, `export`, `apps`.
A floor imports only from the floors below it.
"""

from importlib.metadata import version

__version__ = version("polyfield")
