"""`python -m charlstm` is `charlstm`."""

from charlstm.cli import main

if __name__ == "__main__":
    main()
