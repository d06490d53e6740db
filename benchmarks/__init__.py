"""What Aliascope finds in many architectures, and what it costs; each module is a command."""
