"""The verbs of the command line, each imported only when it is called."""
