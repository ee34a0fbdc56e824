"""The zoo: real cases of every public group, action and frame, over which the laws run."""
