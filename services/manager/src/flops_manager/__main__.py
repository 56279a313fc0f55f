"""`python -m flops_manager`."""

from flops_manager.app import main

main()
