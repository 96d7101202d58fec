"""One module for each toolkit: `training` and `decoding` return functions that the worker measures."""
