"""What Snakemake asks: the config checked, sources recorded, failures told."""
