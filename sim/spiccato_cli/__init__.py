"""The command line. Each verb is a thin layer over a function that Python can call as well."""

import click

from . import boards, checks, estimate, explore, programs, report, simulate

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spiccato")
def main():
    """Spiccato: an LSTM accelerator for FPGAs. Compile a network, predict its latency, simulate the hardware.

    Exit status: 0 if all is well; 1 if an input was refused or a check failed, with one line on standard error that
    says which; 2 for wrong usage.
    """


for module in (boards, checks, estimate, explore, programs, report, simulate):
    for verb in module.VERBS:
        main.add_command(verb)
