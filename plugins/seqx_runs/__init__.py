"""Commands about the folders of runs, finished or not.

`comparison` collects the data of runs and formats them for `seqx compare`.
"""
