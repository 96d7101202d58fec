"""Base classes of tasks: with a corpus, with metrics, and from text to text."""
