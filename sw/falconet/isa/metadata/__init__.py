"""What a model file says about its use."""
