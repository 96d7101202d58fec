"""Training: its settings, the loop over updates, checkpoints, validation, and the selection of the model."""
