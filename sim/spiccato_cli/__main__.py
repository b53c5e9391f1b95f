"""``python -m spiccato_cli``."""

from . import main

main()
