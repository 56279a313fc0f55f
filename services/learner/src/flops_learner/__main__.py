"""`python -m flops_learner`."""

from flops_learner.app import main

main()
