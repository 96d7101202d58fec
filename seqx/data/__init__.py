"""From a task's rows to the updates of training.

- `cache`: folders that are addressed by what they were made from, and appear all at once
- `store`: examples as memory-mapped columns of numbers and of text
- `encode`: a block of rows as columns of numbers, in whichever process
- `prepare`: from a task's rows to a store, with several processes; learning a vocabulary
- `plan`: which examples each update of an epoch is made of
- `batches`: updates as padded tensors, made ahead of training
"""
