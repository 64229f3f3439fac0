"""Autoencoders, one file each: the activation and its estimator."""
