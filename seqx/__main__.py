"""`python -m seqx`, as with torchrun -m."""

from seqx_toolkit import main

if __name__ == "__main__":
    main()
