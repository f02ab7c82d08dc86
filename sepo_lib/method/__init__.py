"""What is SEPO? The objective, the assignment of credit and the reference loss. NumPy only."""
