"""Turn the rows of a task into the batches of training.

- `cache`: corpora, vocabularies and prepared examples, shared by runs
- `ragged`: the rows of a column in one array
- `store`: prepared examples as memory-mapped columns
- `encode`: encode a block of rows as columns of numbers
- `prepare`: prepare examples with several processes; train a vocabulary
- `held_out`: warnings about the development and test sets
- `plan`: the examples of each update
- `batches`: the batches of each update as padded tensors
- `loader`: a thread that builds batches ahead
"""
