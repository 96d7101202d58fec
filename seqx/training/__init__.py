"""Training: what is differentiated (`step`), the loop (`updates`), what a recipe sets (`settings`)."""
