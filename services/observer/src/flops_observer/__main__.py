"""`python -m flops_observer`."""

from flops_observer.app import main

main()
