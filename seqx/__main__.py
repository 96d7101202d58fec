"""`python -m seqx`, as with torchrun -m."""

from seqx.cli import main

if __name__ == "__main__":
    main(prog_name="seqx")
