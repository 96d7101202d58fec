"""The commands of `seqx`; each module is imported when its command is called."""
