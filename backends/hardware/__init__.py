"""What the machine computes with: processor, accelerators, memory of a GPU."""
