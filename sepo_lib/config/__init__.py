"""With what sizes, and where? Hyperparameters by profile, and the paths of the project."""
