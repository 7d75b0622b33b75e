"""Speed and memory of one command against another."""
