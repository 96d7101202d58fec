"""Constituency parsing as linearised trees."""
