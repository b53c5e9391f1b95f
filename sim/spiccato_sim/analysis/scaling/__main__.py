"""Run: .venv/bin/python -m spiccato_sim.analysis.scaling."""

import sys

from .command import main

sys.exit(main())
