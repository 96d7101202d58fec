"""Run the command line, for `python -m seqx` and `torchrun -m seqx`."""

from seqx_toolkit import main

if __name__ == "__main__":
    main()
