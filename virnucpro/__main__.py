"""`python -m virnucpro` is the command `virnucpro`."""

from virnucpro.cli.main import main

main()
