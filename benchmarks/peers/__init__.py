"""Comparison of seqx with other toolkits on a CPU: training, decoding, preparation and start-up.

`worker.py`, `sizes.py`, `trained_weights.py` and `adapters/` also run in the environments of the other
toolkits, so they import seqx only in `adapters/seqx_adapter.py`.
"""
