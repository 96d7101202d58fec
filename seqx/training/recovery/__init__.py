"""Recovery during training: divergence, skipped batches, and microbatches that do not fit into memory."""
