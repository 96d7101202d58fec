"""The command `seqx plan`: memory, time and energy of a run before it starts.

`tracing` computes memory and floating-point operations without tensor values, `probe` measures a few updates,
`costs` combines both, and `proposals` searches for settings that fit into memory or into a budget.
"""
