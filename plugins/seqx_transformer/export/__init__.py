"""Exporters of Transformers to the formats of other programs."""
