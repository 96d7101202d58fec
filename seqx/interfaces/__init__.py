"""The interfaces that plugins implement, and the values that pass between components.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, H heads, K the width of a
head, V symbols of a vocabulary.
"""
