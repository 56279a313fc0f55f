"""`flops`, and `python -m flops_cli`."""

from flops_cli.app import main as main

if __name__ == "__main__":
    main()
