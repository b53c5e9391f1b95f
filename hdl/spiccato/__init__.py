"""Spiccato: an open LSTM accelerator for FPGAs, its compiler and its Verilog generator."""
