"""One process of ``gamecluster bench``: see worker.py. The classes that it pickles must not be those of ``__main__``."""

from .worker import main

main()
