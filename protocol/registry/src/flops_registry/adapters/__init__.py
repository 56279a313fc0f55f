"""The contract's hands: HTTP."""
