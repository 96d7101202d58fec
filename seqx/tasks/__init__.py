"""What tasks share that turn text of a corpus into text."""
