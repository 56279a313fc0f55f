"""The contract about images: which documents a registry holds, what they are called, and how they get in and out."""
