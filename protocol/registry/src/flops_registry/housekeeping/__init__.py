"""What a registry holds of ours, and what of it may go."""
