"""Functions for the Snakefile: check the config, record sources, report failures."""
