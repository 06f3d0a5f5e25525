"""Runtimes in PyTorch's own process: eager, TorchScript, AOTInductor, and what they share."""
