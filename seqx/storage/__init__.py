"""Files: atomic writes, bounded reads, formats, weights, checkpoints and model folders."""
