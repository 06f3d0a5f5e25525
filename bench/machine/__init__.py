"""The machine: its fingerprint, and what the backends can do here."""
