"""Kernels: ways to compute the attention of all heads, for different devices, masks and encodings."""
