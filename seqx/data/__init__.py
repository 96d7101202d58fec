"""Turn the rows of a task into the batches of training.

- `cache`: corpora, vocabularies and prepared examples, shared by runs
- `ragged`: the rows of a column in one array
- `store`: prepared examples as memory-mapped columns
- `encode`: encode a block of rows as columns of numbers
- `prepare`: prepare examples and vocabularies, with several processes and the cache
- `processes`: run a function in several processes, in order
- `held_out`: warnings about the development and test sets
- `row_numbers`: the rows of the corpus from which examples were encoded
- `plan`: the examples of each update
- `packing`: the same for rows that hold several examples
- `batches`: the batches of each update as padded tensors
- `packed_rows`: the same for rows that hold several examples
- `loader`: a thread that builds batches ahead
"""
