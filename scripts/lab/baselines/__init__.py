"""What speed and quality are compared with."""
