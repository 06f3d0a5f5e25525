"""Starting a child, and being one."""
